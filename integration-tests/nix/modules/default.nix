# nixpkgs' lib.evalModules, as far as the module of this project uses it: `lib` with options, types
# and properties added. It is for machines without nixpkgs; see ../../lab/nix.py.
{ lib }:

let
  inherit (extended)
    definitionsOf
    isOption
    mergeDefinitions
    mkOptionDefault
    namesOf
    showOption
    ;

  # A module and everything that it imports: a list of { key; options; config; }.
  collect =
    arguments: module:
    let
      isFile = builtins.isPath module;
      loaded = if isFile then import module else module;
      set = if builtins.isFunction loaded then loaded arguments else loaded;
    in
    [
      {
        key = if isFile then toString module else null;
        options = set.options or { };
        config =
          if set ? options || set ? config then set.config or { } else removeAttrs set [ "imports" ];
      }
    ]
    ++ lib.concatMap (collect arguments) (set.imports or [ ]);

  # A file that is imported twice counts once.
  withoutDuplicates = lib.foldl' (
    found: module:
    if module.key != null && lib.elem module.key (lib.catAttrs "key" found) then
      found
    else
      found ++ [ module ]
  ) [ ];

  # The value of each option of a tree of declarations.
  evaluate =
    location: declarations: definitions:
    let
      declared = lib.unique (lib.concatMap lib.attrNames declarations);
      undeclared = lib.subtractLists declared (namesOf definitions);

      value =
        name:
        let
          here = location ++ [ name ];
          found = lib.catAttrs name declarations;
          option = lib.head found;
          given = definitionsOf name definitions;
          default = lib.optional (option ? default) (mkOptionDefault option.default);
          apply = option.apply or lib.id;
        in
        if !isOption option then
          evaluate here found given
        else if lib.length found > 1 then
          throw "The option `${showOption here}' is already declared."
        else
          apply (mergeDefinitions here option.type (default ++ given));
    in
    if undeclared != [ ] then
      throw "The option `${showOption (location ++ [ (lib.head undeclared) ])}' does not exist."
    else
      lib.genAttrs declared value;

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      arguments = {
        inherit config;
        lib = extended;
      } // specialArgs;
      all = withoutDuplicates (lib.concatMap (collect arguments) modules);
      config = evaluate prefix (lib.catAttrs "options" all) (lib.catAttrs "config" all);
    in
    {
      inherit config;
    };

  extended =
    lib
    // import ./options.nix { lib = extended; }
    // import ./types.nix { lib = extended; }
    // {
      inherit evalModules;
    };
in
extended
