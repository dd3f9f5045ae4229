{ lists }:

let
  inherit (lists) concatMap foldl';
in
rec {
  inherit (builtins)
    attrNames
    attrValues
    catAttrs
    getAttr
    hasAttr
    intersectAttrs
    isAttrs
    listToAttrs
    mapAttrs
    removeAttrs
    ;

  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: function: listToAttrs (map (name: nameValuePair name (function name)) names);
  optionalAttrs = condition: set: if condition then set else { };
  mapAttrsToList = function: set: map (name: function name set.${name}) (attrNames set);
  mapAttrs' = function: set: listToAttrs (mapAttrsToList function set);
  concatMapAttrs = function: set: foldl' (all: name: all // function name set.${name}) { } (attrNames set);
  filterAttrs = condition: set: removeAttrs set (builtins.filter (name: !condition name set.${name}) (attrNames set));
  isDerivation = value: value.type or null == "derivation";
  recurseIntoAttrs = set: set // { recurseForDerivations = true; };
  collect =
    condition: set:
    if condition set then [ set ] else if isAttrs set then concatMap (collect condition) (attrValues set) else [ ];

  recursiveUpdate =
    first: second:
    first
    // mapAttrs (
      name: value:
      if isAttrs value && isAttrs (first.${name} or null) then
        recursiveUpdate first.${name} value
      else
        value
    ) second;
}
