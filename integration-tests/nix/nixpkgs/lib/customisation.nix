{ lists, attrsets }:

rec {
  # A package that can be asked for with other arguments.
  makeOverridable =
    function: arguments:
    let
      result = function arguments;
    in
    if builtins.isAttrs result then
      result // { override = changed: makeOverridable function (arguments // (if builtins.isFunction changed then changed arguments else changed)); }
    else
      result;

  callPackageWith =
    scope: path: arguments:
    let
      function = if builtins.isFunction path then path else import path;
      wanted = builtins.functionArgs function;
      given = builtins.intersectAttrs wanted scope // arguments;
      missing = builtins.filter (name: !wanted.${name} && !given ? ${name}) (builtins.attrNames wanted);
    in
    if missing != [ ] then
      throw "there is no ${builtins.concatStringsSep ", no " missing} for ${toString path} in this package set"
    else
      makeOverridable function given;

  hydraJob = package: package;
}
