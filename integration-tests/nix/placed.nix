# One services model with machines of the test's choice: { hello_world_server = [ "test2" ]; … }.
{ services
, machines
, nix-processmgmt
, parameters ? { }
}:

let
  pkgs = import <nixpkgs> { };
  infrastructure = import (dirOf services + "/infrastructure.nix");
in
(import ../../nix/deploy.nix {
  inherit pkgs services infrastructure;
  distribution = builtins.mapAttrs (_: map (name: infrastructure.${name})) machines;
  parameters = { inherit nix-processmgmt; } // parameters;
}).packages
