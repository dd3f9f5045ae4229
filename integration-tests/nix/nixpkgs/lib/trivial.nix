rec {
  id = value: value;
  const = value: _: value;
  flip = function: a: b: function b a;
  pipe = builtins.foldl' (value: function: function value);
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  functionArgs = function: function.__functionArgs or (builtins.functionArgs function);
  isFunction = value: builtins.isFunction value || (value ? __functor && isFunction (value.__functor value));
  toFunction = value: if isFunction value then value else _: value;
  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  boolToString = value: if value then "true" else "false";
  version = "22.05-stand-in";
  versionAtLeast = a: b: builtins.compareVersions b a != 1;
  warn = message: builtins.trace "warning: ${message}";
  inherit (builtins) pathExists readFile isBool isInt isFloat isPath throw;

  assertMsg = condition: message: if condition then true else throw message;
  throwIf = condition: message: if condition then throw message else id;
  throwIfNot = condition: throwIf (!condition);

  # Fixed points
  fix =
    function:
    let
      self = function self;
    in
    self;

  extends =
    overlay: function: self:
    let
      below = function self;
    in
    below // overlay self below;

  composeExtensions =
    first: second: final: previous:
    let
      applied = first final previous;
    in
    applied // second final (previous // applied);

  composeManyExtensions = builtins.foldl' composeExtensions (_: _: { });
}
