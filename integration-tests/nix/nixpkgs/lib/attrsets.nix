{ lists }:

let
  inherit (lists) concatMap foldl' head tail;
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
  attrsToList = mapAttrsToList nameValuePair;
  mapAttrs' = function: set: listToAttrs (mapAttrsToList function set);
  concatMapAttrs = function: set: foldl' (all: name: all // function name set.${name}) { } (attrNames set);
  filterAttrs = condition: set: removeAttrs set (builtins.filter (name: !condition name set.${name}) (attrNames set));
  mergeAttrs = first: second: first // second;
  isDerivation = value: value.type or null == "derivation";
  recurseIntoAttrs = set: set // { recurseForDerivations = true; };
  attrByPath =
    path: default: set:
    if path == [ ] then
      set
    else if set ? ${head path} then
      attrByPath (tail path) default set.${head path}
    else
      default;
  hasAttrByPath = path: set: path == [ ] || (set ? ${head path} && hasAttrByPath (tail path) set.${head path});
  setAttrByPath = path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
  getAttrFromPath = path: set: foldl' (value: name: value.${name}) set path;
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

  getOutput = output: package: package.${output} or package.out or package;
  getBin = getOutput "bin";
  getLib = getOutput "lib";
}
