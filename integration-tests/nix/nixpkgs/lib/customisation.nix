{
  # Calls the function in a file with its arguments from a set.
  callPackageWith =
    scope: path: arguments:
    let
      function = if builtins.isFunction path then path else import path;
      wanted = builtins.functionArgs function;
      given = builtins.intersectAttrs wanted scope // arguments;
      missing = builtins.filter (name: !wanted.${name} && !given ? ${name}) (builtins.attrNames wanted);
    in
    if missing == [ ] then
      function given
    else
      throw "there is no ${builtins.concatStringsSep ", no " missing} for ${toString path} in this package set";
}
