# The services of another model, and one whose activation fails when all of them are activated.
{ model
, system
, distribution
, invDistribution
, pkgs
, server ? { }
, proxy ? { }
, route ? { }
, nix-processmgmt ? null
, processManager ? null
}@given:

let
  original = import model;
  services = original (builtins.intersectAttrs (builtins.functionArgs original) given);
in
services
// {
  failing = {
    name = "failing";
    pkg =
      { last }:
      pkgs.writeScriptBin "wrapper" ''
        #! ${pkgs.stdenv.shell}
        [ "$1" != activate ]
      '';
    dependsOn.last = services.hello_world_route or services.disnix_tcp_proxy;
    type = "wrapper";
  };
}
