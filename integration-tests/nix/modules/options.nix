# The declarations of options, and the properties of definitions.
{ lib }:

rec {
  mkOption = option: { _type = "option"; } // option;
  isOption = value: value._type or null == "option";

  mkEnableOption =
    name:
    mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
    };

  mkPackageOption =
    pkgs: name:
    { default ? name }:
    mkOption {
      type = lib.types.package;
      default = pkgs.${default} or (throw "pkgs.${default} cannot be found in pkgs");
      defaultText = literalExpression "pkgs.${default}";
      description = "The ${name} package to use.";
    };

  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };

  showOption = lib.concatStringsSep ".";

  # Properties: { _type; content; } around a value or a part of a configuration.
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkForce = mkOverride 50;
  defaultPriority = 100;
  mkDefault = mkOverride 1000;
  mkOptionDefault = mkOverride 1500;

  # The values in one definition, each with its priority.
  values =
    definition:
    let
      property = definition._type or null;
    in
    if property == "if" then
      lib.optionals definition.condition (values definition.content)
    else if property == "merge" then
      lib.concatMap values definition.contents
    else if property == "override" then
      map (value: { inherit (definition) priority; } // { inherit (value) value; }) (
        values definition.content
      )
    else
      [
        {
          priority = defaultPriority;
          value = definition;
        }
      ];

  # The definition of each name in a definition of a set: properties move from the set to what is in
  # it. A list of sets.
  pushDown =
    definition:
    let
      property = definition._type or null;
    in
    if property == "if" then
      map (lib.mapAttrs (_: mkIf definition.condition)) (pushDown definition.content)
    else if property == "merge" then
      lib.concatMap pushDown definition.contents
    else if property == "override" then
      map (lib.mapAttrs (_: mkOverride definition.priority)) (pushDown definition.content)
    else
      [ definition ];

  # The definitions of `name` in a list of definitions of sets.
  definitionsOf =
    name: definitions:
    lib.catAttrs name (lib.concatMap pushDown definitions);

  namesOf = definitions: lib.unique (lib.concatMap lib.attrNames (lib.concatMap pushDown definitions));

  # One value from all definitions of an option, or of an element of one. As in nixpkgs a type merges
  # definitions that are sets with a `value`.
  mergeDefinitions =
    location: type: definitions:
    let
      found = lib.concatMap values definitions;
      highest = lib.foldl' lib.min 9999 (map (value: value.priority) found);
      strongest = lib.filter (value: value.priority == highest) found;
      wrong = lib.filter (value: !type.check value.value) strongest;
    in
    if found == [ ] then
      throw "The option `${showOption location}' is used but not defined."
    else if wrong != [ ] then
      throw "A definition for option `${showOption location}' is not of type `${type.description}'."
    else
      type.merge location strongest;

  mergeOneOption =
    location: definitions:
    if lib.length definitions == 1 then
      (lib.head definitions).value
    else
      throw "The option `${showOption location}' is defined multiple times while it's expected to be unique.";

  mergeEqualOption =
    location: definitions:
    let
      inherit (lib.head definitions) value;
    in
    if lib.all (definition: definition.value == value) definitions then
      value
    else
      throw "The option `${showOption location}' has conflicting definition values.";
}
