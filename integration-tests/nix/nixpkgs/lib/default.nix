# The functions of nixpkgs' lib that are used here, with the same names and meanings.
let
  trivial = import ./trivial.nix;
  lists = import ./lists.nix;
  strings = import ./strings.nix { inherit lists; };
  attrsets = import ./attrsets.nix { inherit lists; };
  customisation = import ./customisation.nix;
  sources = import ./sources.nix;
  meta = import ./meta.nix;
in
trivial
// lists
// strings
// attrsets
// customisation
// sources
// meta
// {
  inherit trivial lists strings attrsets customisation sources meta;
}
