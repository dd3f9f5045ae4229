# The result of a configuration, evaluated as a NixOS system with nixpkgs, or with the stand-ins in this directory.
{
  configuration,
  # With another version of the package, with the same behaviour.
  changed ? false,
  nixpkgs ? import <nixpkgs>,
  module ? ../../../nix/module.nix,
}:

let
  pkgs = nixpkgs { overlays = if changed then [ otherVersion ] else [ ]; };

  otherVersion =
    final: _:
    let
      package = final.callPackage ../../../nix/package.nix { };
    in
    {
      disnix-proxy-example = final.runCommand "disnix-proxy-example-2" { } ''
        cp --recursive --no-preserve=ownership ${package} $out
        chmod --recursive u+w $out
        substituteInPlace $(grep -l ${package} $out/lib/systemd/system/*.service) --replace-fail ${package} $out
      '';
    };

  lib = import ./. { inherit (pkgs) lib; };

  # A system that needs neither a disk nor a boot loader.
  container.boot.isContainer = true;

  system =
    if pkgs ? path then
      import (pkgs.path + "/nixos/lib/eval-config.nix") {
        modules = [
          module
          configuration
          container
          { nixpkgs.pkgs = pkgs; }
        ];
      }
    else
      lib.evalModules {
        modules = [
          ./nixos.nix
          module
          configuration
        ];
        specialArgs = { inherit pkgs; };
      };

  inherit (system) config;
  inherit (config.services) disnix-tcp-proxy hello-world-server;

  isOurs = name: builtins.match "(disnix-tcp-proxy|hello-world-server).*" name != null;
  isService = name: lib.hasSuffix ".service" name && builtins.match ".*-(reopen|catalog).*" name == null;
  units = lib.filterAttrs (name: _: isOurs name) config.systemd.units;
  unitPackages = lib.filter (package: package.name == "disnix-proxy-example-units") config.systemd.packages;
  text = lib.mapAttrs (_: unit: unit.text) units;
in
{
  # The messages of failed assertions.
  failed = map (assertion: assertion.message) (
    lib.filter (assertion: !assertion.assertion) config.assertions
  );

  units = text;
  wanted = lib.mapAttrs (_: unit: unit.wantedBy) units;
  ports = config.networking.firewall.allowedTCPPorts;
  operators = config.users.groups.disnix-tcp-proxy.members;
  programs = map toString config.environment.systemPackages;

  # The descriptions of the services.
  services = lib.mapAttrs (
    name: unit: [ unit.text ] ++ lib.optionals (isOurs name) (map toString unitPackages)
  ) (lib.filterAttrs (name: _: isService name) config.systemd.units);
  specialisations = config.specialisation;

  # The names of all options.
  options = {
    proxies = lib.attrNames disnix-tcp-proxy;
    instances = lib.attrNames (lib.concatMapAttrs (_: instance: instance) disnix-tcp-proxy.instances);
    server = lib.attrNames hello-world-server;
  };

  # Our part of /etc/systemd/system. A unit of a package gets a drop-in.
  directory = pkgs.runCommand "system-units" { } (
    ''
      mkdir $out
      for package in ${toString unitPackages}
      do
          cp --no-preserve=mode $package/lib/systemd/system/* $out/
      done
    ''
    + lib.concatStrings (
      lib.mapAttrsToList (name: unit: ''
        target=$out/${name}
        if [ -e $target ]
        then
            mkdir $target.d
            target=$target.d/overrides.conf
        fi
        cp ${pkgs.writeText "unit" unit.text} $target
        for other in ${toString unit.wantedBy}
        do
            mkdir -p $out/$other.wants
            ln -s ../${name} $out/$other.wants/
        done
      '') units
    )
  );
}
