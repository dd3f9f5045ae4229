# What the backends have in common.
{ pkgs, runtimeDir, logDir, tmpDir, forceDisableUserChange, ids }:

let
  inherit (pkgs) lib;
in
rec {
  inherit pkgs lib runtimeDir forceDisableUserChange;
  inherit (pkgs) stdenv writeTextFile;

  basePackages = [ pkgs.coreutils pkgs.gnused pkgs.gnugrep pkgs.inetutils ];

  # The environment with the packages in PATH.
  withPath = packages: environment: lib.optionalAttrs (packages != [ ]) { PATH = lib.makeBinPath packages; } // environment;

  script =
    name: text:
    writeTextFile {
      inherit name;
      executable = true;
      text = ''
        #! ${stdenv.shell} -e
        ${text}'';
    };

  exports =
    environment:
    lib.concatStrings (
      lib.mapAttrsToList (
        name: value: "export ${name}=${lib.escapeShellArg value}${lib.optionalString (name == "PATH") ":$PATH"}\n"
      ) environment
    );

  ownUser = user: if forceDisableUserChange then null else user;

  pidFileOf =
    { pidFile, instanceName, user, ... }:
    if pidFile != null || instanceName == null then
      pidFile
    else
      "${if user == null then runtimeDir else tmpDir}/${instanceName}.pid";

  # The command line that starts the process and returns. What does not go into the background by
  # itself is put there by libslack's daemon.
  startInBackground =
    process@{ name, daemon, daemonArgs, foregroundProcess, foregroundProcessArgs, instanceName, user, ... }:
    let
      runAs = ownUser user;
      pidFile = pidFileOf process;
      log = "${if runAs == null then logDir else tmpDir}/nixproc-${if instanceName == null then name else instanceName}.log";
      own = "${daemon} ${lib.escapeShellArgs daemonArgs}";
    in
    if daemon != null then
      if runAs == null then own else "su ${runAs} -c ${lib.escapeShellArg own}"
    else if foregroundProcess != null then
      lib.concatStringsSep " " (
        [ "daemon --unsafe --inherit --output ${log}" ]
        ++ (
          if pidFile == null then
            [ "--pidfiles ${runtimeDir} --name $(basename ${foregroundProcess})" ]
          else
            [ "--pidfile ${pidFile}" ]
        )
        ++ lib.optional (runAs != null) "--user ${runAs}"
        ++ [ "-- ${foregroundProcess} ${lib.escapeShellArgs foregroundProcessArgs}" ]
      )
    else
      throw "${name}: neither process, daemon nor foregroundProcess is given";

  # The command line that stays, for process managers that want that: [ program argument… ].
  stayInForeground =
    { name, daemon, foregroundProcess, foregroundProcessArgs, initialize, ... }:
    if foregroundProcess == null then
      throw "${name}: this stand-in for nix-processmgmt can not keep ${toString daemon} in the foreground"
    else if initialize == "" then
      [ foregroundProcess ] ++ foregroundProcessArgs
    else
      [
        (script "${name}-foreground" ''
          ${initialize}
          exec ${foregroundProcess} "$@"
        '')
      ]
      ++ foregroundProcessArgs;

  # Users and groups, in the form of Dysnomia.
  credentialsOf =
    { groups ? { }, users ? { } }:
    let
      files =
        kind: idsOf: set:
        lib.mapAttrsToList (
          name: properties:
          {
            name = "dysnomia-support/${kind}/${name}";
            path = pkgs.writeText name (
              lib.concatStrings (
                lib.mapAttrsToList (property: value: "${property}=${lib.escapeShellArg value}\n") (
                  lib.optionalAttrs (idsOf ? ${name}) { ${if kind == "users" then "uid" else "gid"} = idsOf.${name}; }
                  // properties
                )
              )
            );
          }
        ) set;
    in
    pkgs.linkFarm "credentials" (
      lib.optionals (!forceDisableUserChange) (files "groups" (ids.gids or { }) groups ++ files "users" (ids.uids or { }) users)
    );

  # The package of a managed process: commands that fill $out, and what every one has.
  managed =
    { name, credentials ? { }, postInstall ? "", passthru ? { } }:
    commands:
    stdenv.mkDerivation {
      inherit name passthru;
      buildCommand = ''
        mkdir -p $out
        ${commands}
        if [ -d ${credentialsOf credentials}/dysnomia-support ]
        then
            ln -s ${credentialsOf credentials}/dysnomia-support $out/dysnomia-support
        fi
        ${postInstall}
      '';
    };
}
