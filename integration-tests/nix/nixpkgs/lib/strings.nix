{ lists }:

let
  inherit (lists) length toList;
in
rec {
  inherit (builtins)
    concatStringsSep
    isString
    replaceStrings
    split
    stringLength
    substring
    toJSON
    fromJSON
    unsafeDiscardStringContext
    hashString
    match
    ;

  concatStrings = concatStringsSep "";
  concatMapStrings = function: list: concatStrings (map function list);
  concatMapStringsSep = separator: function: list: concatStringsSep separator (map function list);
  concatLines = concatMapStrings (line: "${line}\n");
  optionalString = condition: text: if condition then text else "";

  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      start = stringLength text - stringLength suffix;
    in
    start >= 0 && substring start (-1) text == suffix;
  hasInfix = infix: text: length (builtins.split (escapeRegex infix) text) > 1;
  removePrefix = prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (-1) text else text;
  removeSuffix =
    suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;

  stringToCharacters = text: builtins.genList (n: substring n 1 text) (stringLength text);
  escape = characters: replaceStrings characters (map (character: "\\${character}") characters);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");

  # Quotes only if necessary.
  escapeShellArg =
    argument:
    let
      text = toString argument;
    in
    if match "[[:alnum:],._+:@%/-]+" text != null then text else "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  escapeXML = replaceStrings [ "\"" "'" "<" ">" "&" ] [ "&quot;" "&apos;" "&lt;" "&gt;" "&amp;" ];

  splitString =
    separator: text:
    builtins.filter isString (builtins.split (escapeRegex separator) (toString text));

  addContextFrom = source: text: substring 0 0 source + text;
  makeSearchPath = directory: packages: concatMapStringsSep ":" (package: "${package}/${directory}") (toList packages);
  makeBinPath = makeSearchPath "bin";
  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;

  fixedWidthString =
    width: filler: text:
    if stringLength text >= width then text else fixedWidthString width filler (filler + text);
}
