# Every Disnix model with every distribution that has the same services, for every process manager that
# it can be built for, as packages:
#
#   DIRECTORY.SERVICES-MODEL.DISTRIBUTION-MODEL.PROCESS-MANAGER.SERVICE
#
# launchd, bsdrc and cygrunsrv are built to show that the models do not depend on the process manager. The
# programs themselves need Linux.
{ pkgs ? import <nixpkgs> { }
, nix-processmgmt
, processManagers ? [ "systemd" "disnix" "sysvinit" "supervisord" "s6-rc" "launchd" "bsdrc" "cygrunsrv" ]
, # Other parameters of the models: server, proxy, route, stateDir, …
  parameters ? { }
}:

let
  inherit (pkgs) lib;

  directories = {
    deployment = ../deployment/DistributedDeployment;
    deployment-simple = ../deployment-simple/DistributedDeployment;
  };

  # { NAME = FILE; } of the models whose names have this prefix
  models =
    directory: beginning:
    lib.mapAttrs' (file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (directory + "/${file}")) (
      lib.filterAttrs (file: _: lib.hasPrefix beginning file && lib.hasSuffix ".nix" file) (
        builtins.readDir directory
      )
    );

  # { MANAGER = parameters; }. Some models have only one.
  managersFor =
    services:
    if (builtins.functionArgs (import services)) ? processManager then
      lib.genAttrs processManagers (processManager: { inherit processManager; })
    else
      { default = { }; };

  variantsIn =
    directory:
    let
      infrastructure = import (directory + "/infrastructure.nix");

      variants =
        services: distribution:
        lib.mapAttrs (
          _: manager:
          import ./deploy.nix {
            inherit pkgs services infrastructure;
            distribution = import distribution { inherit infrastructure; };
            parameters = { inherit nix-processmgmt; } // parameters // manager;
          }
        ) (managersFor services);

      fitting = lib.filterAttrs (_: deployments: lib.all (deployment: deployment.complete) (lib.attrValues deployments));
    in
    lib.mapAttrs (
      _: services:
      lib.mapAttrs (_: lib.mapAttrs (_: deployment: deployment.packages)) (
        fitting (lib.mapAttrs (_: variants services) (models directory "distribution-"))
      )
    ) (models directory "services-");

  # For nix-build to find the packages inside
  tree = value: if lib.isDerivation value then value else lib.recurseIntoAttrs (lib.mapAttrs (_: tree) value);
in
tree (lib.mapAttrs (_: variantsIn) directories)
