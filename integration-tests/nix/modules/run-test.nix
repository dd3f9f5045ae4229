# nixosTest without virtual machines: the units of every machine, and the script.
{ pkgs }:

file:
let
  test = import file;

  units =
    machine:
    (import ./evaluate.nix {
      configuration = machine;
      nixpkgs = _: pkgs;
      module = { }; # The machines that need it import it.
    }).directory;
in
pkgs.linkFarm test.name (
  builtins.mapAttrs (_: units) test.nodes
  // {
    script = pkgs.writeText "script" test.testScript;
  }
)
