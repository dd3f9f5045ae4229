# Every Nix expression of the project, evaluated down to derivations: none may fail, and no file may be left out
# (tests/nix_files.py). The derivations are represented by their paths.
{ nix-processmgmt }:

let
  pkgs = import <nixpkgs> { };
  inherit (pkgs) lib;

  # { a.b = derivation; } becomes { "a.b" = path of the derivation; }.
  derivations =
    prefix: value:
    if lib.isDerivation value then
      { ${prefix} = builtins.unsafeDiscardStringContext value.drvPath; }
    else if builtins.isAttrs value then
      lib.foldl' (all: name: all // derivations (if prefix == "" then name else "${prefix}.${name}") value.${name}) { } (
        builtins.attrNames value
      )
    else
      { };

  # A NixOS configuration, evaluated without NixOS.
  configuration =
    module:
    if builtins.isFunction module then
      module {
        inherit lib pkgs;
        config = { };
      }
    else
      module;

  networks =
    directory:
    lib.mapAttrs (file: _: lib.mapAttrs (_: configuration) (removeAttrs (import (directory + "/${file}")) [ "network" ])) (
      lib.filterAttrs (file: _: lib.hasPrefix "network" file && lib.hasSuffix ".nix" file) (builtins.readDir directory)
    );

  models =
    directory:
    {
      networks = networks directory;
      infrastructure = import (directory + "/infrastructure.nix");
      inherit (import (directory + "/ids.nix")) ids;
      idresources = import (directory + "/idresources.nix");
    };

  flake =
    let
      self = (import ../../flake.nix).outputs {
        inherit self;
        nixpkgs = {
          inherit lib;
          legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: import <nixpkgs> { inherit system; });
        };
      };
    in
    self;
in
{
  release = derivations "" (import ../../nix/release.nix { inherit nix-processmgmt; });
  default = derivations "default" (import ../../default.nix { inherit pkgs; });
  shell = derivations "shell" (import ../../shell.nix { inherit pkgs; });
  flake = derivations "" (removeAttrs flake [ "nixosModules" "overlays" ]) // { inherit (flake) apps; };
  placed = derivations "" (
    import ./placed.nix {
      inherit nix-processmgmt;
      services = ../../deployment/DistributedDeployment/services-without-proxy.nix;
      machines = lib.genAttrs [ "hello_world_server" "hello_world_client" ] (_: [ "test1" ]);
    }
  );
  without-route = derivations "" (
    import ./placed.nix {
      inherit nix-processmgmt;
      services = ../../deployment/DistributedDeployment/services-with-proxy.nix;
      machines = lib.genAttrs [ "hello_world_server" "hello_world_client" "disnix_tcp_proxy" ] (_: [ "test1" ]);
    }
  );
  module = {
    inherit
      (import ./modules/evaluate.nix {
        configuration.services = {
          disnix-tcp-proxy.instances.web = {
            listen = [ 80 ];
            openFirewall = true;
          };
          hello-world-server = {
            enable = true;
            listen = [ "[::1]:5000" ];
          };
        };
      })
      units
      ports
      ;
  };
  machine =
    (import ./modules/node.nix {
      test = ../../nix/tests/upgrade-under-load.nix;
      node = "server";
      specialisation = "upgraded";
    }).units;
  disnix =
    let
      manifest = import ./disnix/manifest.nix;
      services = ../../deployment/DistributedDeployment/services-with-proxy.nix;
    in
    derivations "" {
      target = import ./disnix/target.nix;
      broken-server = import ./disnix/broken-server.nix;
      one-machine = manifest {
        infrastructure = ./models/only-test1.nix;
        distribution = ./models/everything-on-test1.nix;
        inherit services;
        extraParams = { inherit nix-processmgmt; };
      };
      failure = manifest {
        infrastructure = ../../deployment/DistributedDeployment/infrastructure.nix;
        distribution = ./models/failure-and-server-on-test2.nix;
        services = ./models/services-with-failure.nix;
        extraParams = {
          inherit nix-processmgmt;
          model = services;
          server.package = import ./disnix/another-version.nix { version = "1"; };
        };
      };
    };
  overlay =
    (import <nixpkgs> { overlays = [ (import ../../default.nix { inherit pkgs; }).overlay ]; })
    .disnix-proxy-example.drvPath;
  parameters = import ./parameters.nix;
  names = import ./names.nix { file = ../../deployment/DistributedDeployment/network.nix; };
  deployment = models ../../deployment/DistributedDeployment;
  deployment-simple = models ../../deployment-simple/DistributedDeployment;
}
