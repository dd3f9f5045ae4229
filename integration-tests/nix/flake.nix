# For --override-input nixpkgs path:…; not in nixpkgs/, which needs files outside of it.
{
  description = "A package set for tests, with the interface of nixpkgs";

  outputs =
    { self }:
    let
      lib = import ./nixpkgs/lib;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs lib.systems.flakeExposed (system: import ./nixpkgs { inherit system; });
    };
}
