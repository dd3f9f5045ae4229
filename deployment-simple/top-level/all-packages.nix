{ system
, pkgs
, stateDir
, runtimeDir
}:

let
  callPackage = pkgs.lib.callPackageWith (pkgs // self);

  self = {
    inherit stateDir runtimeDir;

    disnix-proxy-example = callPackage ../../nix/package.nix { };

    # What the packages below have in common

    parameters = callPackage ../../nix/disnix/parameters.nix { };
    options = callPackage ../../nix/disnix/options.nix { };
    proxyOf = callPackage ../../nix/disnix/proxy-of.nix { };
    pidFileOf = callPackage ../../nix/disnix/pid-file-of.nix { };
    client = callPackage ../../nix/disnix/client.nix { };
    currentModules = callPackage ../../nix/disnix/current-modules.nix { };
    route = callPackage ../../nix/disnix/route.nix { };
    proxyWithRoute = callPackage ../../nix/disnix/proxy-with-route.nix { };
    processWrapper = callPackage ../../nix/disnix/process-wrapper.nix { };
    daemonized = callPackage ../pkgs/daemonized { };

    # The services

    hello_world_server = callPackage ../pkgs/hello-world-server { };
    hello_world_client = callPackage ../pkgs/hello-world-client { };
    disnix_tcp_proxy = callPackage ../pkgs/disnix-tcp-proxy { };
    hello_world_route = callPackage ../pkgs/hello-world-route { };
  };
in
self
