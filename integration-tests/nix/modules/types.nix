# Types of options: accepted values, and merging of several definitions.
{ lib }:

let
  inherit (builtins)
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    ;
  inherit (lib)
    definitionsOf
    mergeDefinitions
    mergeEqualOption
    mergeOneOption
    mkOptionType
    namesOf
    ;

  simple = description: check: mkOptionType {
    name = description;
    inherit description check;
    merge = mergeEqualOption;
  };
in
rec {
  mkOptionType =
    {
      name,
      description ? name,
      check ? _: true,
      merge ? mergeOneOption,
    }:
    {
      _type = "option-type";
      inherit
        name
        description
        check
        merge
        ;
    };

  types = {
    unspecified = mkOptionType { name = "unspecified"; };
    bool = simple "boolean" isBool;
    int = simple "signed integer" isInt;
    str = simple "string" isString;
    singleLineStr = mkOptionType {
      name = "(optionally newline-terminated) single-line string";
      check = value: isString value && builtins.match "[^\n\r]*\n?" value != null;
      merge = location: definitions: lib.removeSuffix "\n" (mergeEqualOption location definitions);
    };
    path = simple "path" (value: isPath value || lib.hasPrefix "/" (toString value));
    package = simple "package" (value: value ? outPath);
    enum = choices: simple "one of ${lib.concatMapStringsSep ", " builtins.toJSON choices}" (
      value: lib.elem value choices
    );

    ints = {
      positive = simple "positive integer, meaning >0" (value: isInt value && value > 0);
      unsigned = simple "unsigned integer, meaning >=0" (value: isInt value && value >= 0);
    };
    port = simple "16 bit unsigned integer; between 0 and 65535 (both inclusive)" (
      value: isInt value && value >= 0 && value <= 65535
    );

    lines = mkOptionType {
      name = "strings concatenated with \"\\n\"";
      check = isString;
      merge = _: definitions: lib.concatStringsSep "\n" (lib.catAttrs "value" definitions);
    };

    nullOr = type: mkOptionType {
      name = "null or ${type.description}";
      check = value: value == null || type.check value;
      merge =
        location: definitions:
        if lib.all (definition: definition.value == null) definitions then
          null
        else if lib.elem null (lib.catAttrs "value" definitions) then
          throw "The option `${lib.showOption location}' is defined both null and not null."
        else
          type.merge location definitions;
    };

    oneOf = alternatives: mkOptionType {
      name = lib.concatMapStringsSep " or " (type: type.description) alternatives;
      check = value: lib.any (type: type.check value) alternatives;
      merge = mergeEqualOption;
    };

    listOf = element: mkOptionType {
      name = "list of ${element.description}";
      check = isList;
      merge =
        location: definitions:
        map (definition: mergeDefinitions (location ++ [ "*" ]) element [ definition ]) (
          lib.concatLists (lib.catAttrs "value" definitions)
        );
    };

    attrsOf = element: mkOptionType {
      name = "attribute set of ${element.description}";
      check = isAttrs;
      merge =
        location: definitions:
        let
          sets = lib.catAttrs "value" definitions;
          isDefined = name: lib.concatMap lib.values (definitionsOf name sets) != [ ];
        in
        lib.genAttrs (lib.filter isDefined (namesOf sets)) (
          name: mergeDefinitions (location ++ [ name ]) element (definitionsOf name sets)
        );
    };

    submodule = module: mkOptionType {
      name = "submodule";
      check = value: isAttrs value || isFunction value;
      merge =
        location: definitions:
        (lib.evalModules {
          modules = [ module ] ++ map (definition: { config = definition.value; }) definitions;
          specialArgs.name = lib.last location;
          prefix = location;
        }).config;
    };
  };
}
