# The functions of nixpkgs' lib that are used here, under the same names and with the same meaning.
let
  trivial = import ./trivial.nix;
  lists = import ./lists.nix;
  strings = import ./strings.nix { inherit lists; };
  attrsets = import ./attrsets.nix { inherit lists; };
  customisation = import ./customisation.nix { inherit lists attrsets; };
  sources = import ./sources.nix { inherit strings; };
  meta = import ./meta.nix { inherit attrsets; };
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
  fixedPoints = trivial;
}
