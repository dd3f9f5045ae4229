{ system
, pkgs
, stateDir
, runtimeDir
}:

let
  callPackage = pkgs.lib.callPackageWith (pkgs // self);

  self = import ../../nix/disnix { inherit callPackage; } // {
    inherit stateDir runtimeDir;

    daemonized = callPackage ../pkgs/daemonized { };

    hello_world_server = callPackage ../pkgs/hello-world-server { };
    disnix_tcp_proxy = callPackage ../pkgs/disnix-tcp-proxy { };
  };
in
self
