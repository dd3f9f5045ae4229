# Builds a services model as Disnix would, and places its services, without Disnix.
{ pkgs
, services # the file
, infrastructure
, distribution
, # Of the services model, as with --extra-params
  parameters ? { }
}:

let
  inherit (pkgs) lib;
  model = import services;

  given = parameters // {
    inherit pkgs distribution;
    inherit (pkgs.stdenv.hostPlatform) system;
    invDistribution = lib.mapAttrs (
      _: machine:
      machine
      // {
        services = lib.filterAttrs (name: _: builtins.elem machine (distribution.${name} or [ ])) declared;
      }
    ) infrastructure;
  };

  declared = model (builtins.intersectAttrs (builtins.functionArgs model) given);

  # A service as its dependents see it
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
  # Whether exactly the services of the model are distributed. A model may refuse a distribution.
  complete =
    let
      same = builtins.tryEval (builtins.attrNames declared == builtins.attrNames distribution);
    in
    same.success && same.value;

  packages = lib.mapAttrs (_: build) declared;
}
