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

  self = import ../../nix/disnix { inherit callPackage; } // {
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

    shippedUnits = import ../../nix/disnix/shipped-units.nix;
    systemdWrapper = callPackage ../pkgs/disnix-tcp-proxy/systemd-wrapper.nix { };
    plainWrapper = callPackage ../pkgs/disnix-tcp-proxy/plain-wrapper.nix { };

    hello_world_server = callPackage ../pkgs/hello-world-server { };
    disnix_tcp_proxy = callPackage ../pkgs/disnix-tcp-proxy { };
  };
in
self
