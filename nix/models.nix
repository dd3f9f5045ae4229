# Every Disnix model with every distribution that has the same services, for every process manager that
# it can be deployed with, as packages:
#
#   DIRECTORY.SERVICES-MODEL.DISTRIBUTION-MODEL.PROCESS-MANAGER.SERVICE
#
# They are what Disnix would build, without Disnix.
{ pkgs
, nix-processmgmt
, processManagers ? [ "systemd" "disnix" "sysvinit" "supervisord" "launchd" "bsdrc" "s6-rc" ]
, # Parameters of the models, for all of them: server, proxy, route, stateDir, …
  parameters ? { }
}:

let
  inherit (pkgs) lib;
  system = pkgs.stdenv.hostPlatform.system;

  directories = {
    deployment = ../deployment/DistributedDeployment;
    deployment-simple = ../deployment-simple/DistributedDeployment;
  };

  # { NAME = FILE; } of what begins like this.
  models =
    directory: beginning:
    lib.mapAttrs' (file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (directory + "/${file}")) (
      lib.filterAttrs (file: _: lib.hasPrefix beginning file && lib.hasSuffix ".nix" file) (builtins.readDir directory)
    );

  deploy =
    { services, infrastructure, distribution, processManager }:
    let
      model = import services;

      given =
        parameters
        // {
          inherit system pkgs distribution nix-processmgmt;
          invDistribution = lib.mapAttrs (
            _: machine: machine // { services = lib.filterAttrs (name: _: builtins.elem machine distribution.${name}) declared; }
          ) infrastructure;
        }
        // lib.optionalAttrs (processManager != null) { inherit processManager; };

      declared = model (builtins.intersectAttrs (builtins.functionArgs model) given);

      # A service as those see it that depend on it.
      located =
        service:
        removeAttrs service [ "pkg" "dependsOn" "connectsTo" ]
        // rec {
          targets = distribution.${service.name};
          target = builtins.head targets;
        };

      build =
        service:
        let
          dependencies = service.connectsTo or { } // service.dependsOn or { };
        in
        if dependencies == { } then service.pkg else service.pkg (lib.mapAttrs (_: located) dependencies);
    in
    {
      fits = builtins.attrNames declared == builtins.attrNames distribution;
      packages = lib.mapAttrs (_: build) declared;
    };

  # Unless the model decides it
  managersOf =
    services: if (builtins.functionArgs (import services)) ? processManager then processManagers else [ null ];

  variants =
    directory:
    let
      infrastructure = import (directory + "/infrastructure.nix");

      withDistribution =
        services: file:
        let
          deployment =
            processManager:
            deploy {
              inherit services infrastructure processManager;
              distribution = import file { inherit infrastructure; };
            };
          managers = managersOf services;
        in
        lib.optionalAttrs (deployment (builtins.head managers)).fits (
          lib.listToAttrs (
            map (
              manager: lib.nameValuePair (if manager == null then "default" else manager) (deployment manager).packages
            ) managers
          )
        );
    in
    lib.mapAttrs (
      _: services:
      lib.filterAttrs (_: found: found != { }) (
        lib.mapAttrs (_: withDistribution services) (models directory "distribution-")
      )
    ) (models directory "services-");

  # So that nix-build finds the packages inside
  tree = value: if lib.isDerivation value then value else lib.recurseIntoAttrs (lib.mapAttrs (_: tree) value);
in
tree (lib.mapAttrs (_: variants) directories)
