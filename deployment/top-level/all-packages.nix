{ system
, pkgs
, stateDir
, logDir
, runtimeDir
, tmpDir
, forceDisableUserChange
, processManager
, nix-processmgmt
}:

let
  callPackage = pkgs.lib.callPackageWith (pkgs // self);

  self = {
    createManagedProcess =
      import "${nix-processmgmt}/nixproc/create-managed-process/universal/create-managed-process-universal.nix"
        {
          inherit
            pkgs
            stateDir
            runtimeDir
            logDir
            tmpDir
            forceDisableUserChange
            processManager
            ;
        };

    processType = import "${nix-processmgmt}/nixproc/derive-dysnomia-process-type.nix" {
      inherit processManager;
    };

    inherit processManager stateDir runtimeDir;

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
    shippedUnits = import ../../nix/disnix/shipped-units.nix;
    processWrapper = callPackage ../../nix/disnix/process-wrapper.nix { };
    systemdWrapper = callPackage ../pkgs/disnix-tcp-proxy/systemd-wrapper.nix { };
    plainWrapper = callPackage ../pkgs/disnix-tcp-proxy/plain-wrapper.nix { };

    # The services

    hello_world_server = callPackage ../pkgs/hello-world-server { };
    hello_world_client = callPackage ../pkgs/hello-world-client { };
    disnix_tcp_proxy = callPackage ../pkgs/disnix-tcp-proxy { };
    hello_world_route = callPackage ../pkgs/hello-world-route { };
  };
in
self
