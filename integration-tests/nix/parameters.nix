# The parameters of the Disnix models, as doc/disnix.md lists them: { SERVICE = { NAME = { … }; }; }
let
  inherit (import <nixpkgs> { }) lib;
  inherit (import ../../nix/disnix/parameters.nix { inherit lib; }) declarations;
in
lib.mapAttrs (
  _:
  lib.mapAttrs (
    _: parameter:
    { inherit (parameter) description; }
    // lib.optionalAttrs (parameter ? default) { default = builtins.toJSON parameter.default; }
  )
) declarations
