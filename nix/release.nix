# All builds and tests, for Hydra or for `nix-build nix/release.nix -A JOB`.
{ nixpkgs ? <nixpkgs>
, systems ? [ "x86_64-linux" "aarch64-linux" ]
, # A checkout of nix-processmgmt; by default beside this project
  nix-processmgmt ? ../../nix-processmgmt
}:

let
  forEachSystem =
    function:
    builtins.listToAttrs (
      map (system: {
        name = system;
        value = function (import nixpkgs { inherit system; });
      }) systems
    );
in
{
  package = forEachSystem (pkgs: pkgs.callPackage ./package.nix { });
  tests = forEachSystem (pkgs: import ./tests { inherit pkgs; });
  models = forEachSystem (pkgs: import ./models.nix { inherit pkgs nix-processmgmt; });
}
