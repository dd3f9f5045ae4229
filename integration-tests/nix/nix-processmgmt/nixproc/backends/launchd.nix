# A property list for launchd.
common: process:

let
  inherit (common) lib;
  command = common.stayInForeground process;

  generated = {
    inherit (process) name path credentials postInstall;
    Label = "org.nixos.${process.name}";
    Program = lib.head command;
    ProgramArguments = command;
    EnvironmentVariables = process.environment;
  }
  // lib.filterAttrs (_: value: value != null) {
    WorkingDirectory = process.directory;
    Umask = process.umask;
    Nice = process.nice;
    UserName = common.ownUser process.user;
  };

  given = process.override generated;

  properties = removeAttrs given [ "name" "path" "credentials" "postInstall" ] // {
    EnvironmentVariables = common.withPath given.path given.EnvironmentVariables;
  };

  plist =
    value:
    if lib.isBool value then
      if value then "<true/>" else "<false/>"
    else if lib.isInt value then
      "<integer>${toString value}</integer>"
    else if lib.isList value then
      "<array>${lib.concatMapStrings plist value}</array>"
    else if lib.isAttrs value && !lib.isDerivation value then
      "<dict>${lib.concatStrings (lib.mapAttrsToList (name: part: "<key>${lib.escapeXML name}</key>${plist part}\n") value)}</dict>"
    else
      "<string>${lib.escapeXML (toString value)}</string>";

  file = common.writeTextFile {
    name = "${given.Label}.plist";
    text = ''
      <?xml version="1.0" encoding="UTF-8"?>
      <plist version="1.0">
      ${plist properties}
      </plist>
    '';
  };
in
common.managed
  {
    inherit (given) name credentials postInstall;
  }
  ''
    mkdir -p $out/Library/LaunchDaemons
    ln -s ${file} $out/Library/LaunchDaemons/${given.Label}.plist
  ''
