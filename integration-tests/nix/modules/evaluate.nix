# What a configuration becomes: units, groups, ports, assertions that do not hold. With a real nixpkgs
# it is evaluated as a NixOS system, otherwise with the stand-in beside this file.
{
  configuration,
  pkgs ? import <nixpkgs> { },
}:

let
  real = builtins.pathExists (pkgs.path or (toString ./.) + "/nixos/lib/eval-config.nix");
  lib = import ./. { inherit (pkgs) lib; };

  system =
    if real then
      import (pkgs.path + "/nixos/lib/eval-config.nix") {
        modules = [
          ../../../nix/module.nix
          configuration
          { nixpkgs.pkgs = pkgs; }
        ];
      }
    else
      lib.evalModules {
        modules = [
          ./nixos.nix
          ../../../nix/module.nix
          configuration
        ];
        specialArgs = { inherit pkgs; };
      };

  inherit (system) config;
  own = lib.filterAttrs (
    name: _: builtins.match "(disnix-tcp-proxy|hello-world-server).*" name != null
  ) config.systemd.units;
in
{
  failed = map (assertion: assertion.message) (
    lib.filter (assertion: !assertion.assertion) config.assertions
  );
  units = lib.mapAttrs (_: unit: { inherit (unit) text wantedBy; }) own;
  unitPackages = map toString (lib.filter (package: lib.hasInfix "disnix-proxy-example" (toString package)) config.systemd.packages);
  ports = config.networking.firewall.allowedTCPPorts;
  operators = config.users.groups.disnix-tcp-proxy.members or null;
  programs = map toString config.environment.systemPackages;
  catalog = toString (config.environment.etc."systemd/catalog/disnix-tcp-proxy.catalog".source or "");
}
