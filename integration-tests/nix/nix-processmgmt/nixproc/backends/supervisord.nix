# A section [program:NAME].
common: process:

let
  inherit (common) lib;

  generated = {
    inherit (process) name path environment dependencies credentials postInstall;
    command = lib.concatStringsSep " " (map toString (
      let
        command = common.stayInForeground process;
      in
      [ (lib.head command) ] ++ map lib.escapeShellArg (lib.tail command)
    ));
  }
  // lib.filterAttrs (_: value: value != null) {
    inherit (process) umask nice pidFile directory;
    user = common.ownUser process.user;
  };

  given = process.override generated;
  priority = lib.foldl' lib.max 1 (map (dependency: dependency.priority + 1) given.dependencies);

  environment = common.withPath (common.basePackages ++ given.path) given.environment;
  quoted = value: "\"${lib.escape [ "\"" ] (toString value)}\"";

  properties = removeAttrs given [ "name" "path" "environment" "dependencies" "credentials" "postInstall" "pidFile" ] // {
    inherit priority;
    environment = lib.concatStringsSep "," (lib.mapAttrsToList (name: value: "${name}=${quoted value}") environment);
  };

  configuration = common.writeTextFile {
    name = "${given.name}.conf";
    text =
      "[program:${given.name}]\n"
      + lib.concatStrings (lib.mapAttrsToList (name: value: "${name}=${toString value}\n") properties);
  };
in
common.managed
  {
    inherit (given) name credentials postInstall;
    passthru = { inherit priority; };
  }
  ''
    mkdir -p $out/conf.d
    ln -s ${configuration} $out/conf.d/${given.name}.conf
  ''
