# A package set for tests on a machine that has Nix and no nixpkgs: the part of nixpkgs' interface that
# this project, nix-processmgmt and Disnix's own expressions use. Compilers and tools are those of the
# machine, a Debian; a package such as coreutils is a directory of links into /usr/bin. So a build takes a
# second, and its result runs on every Debian with the same tools.
{ system ? builtins.currentSystem
, overlays ? [ ]
, config ? { }
, ...
}:

let
  lib = import ./lib;

  packages =
    pkgs:
    {
      inherit lib system config pkgs;

      callPackage = lib.callPackageWith pkgs;
    }
    // import ./stdenv { inherit lib system pkgs; }
    // import ./trivial-builders.nix { inherit lib; inherit (pkgs) stdenv; }
    // import ./tools { inherit lib system; inherit (pkgs) callPackage; }
    // import ./rust { inherit lib pkgs; };
in
lib.fix (lib.foldl' (lib.flip lib.extends) packages overlays)
