# A script for /etc/rc.d/init.d, with links from the run levels.
common: process:

let
  inherit (common) lib;
  inherit (process) umask directory nice;
  program = if process.daemon != null then process.daemon else process.foregroundProcess;
  givenFile = common.pidFileOf process;
  pidFile = if givenFile != null then givenFile else "${common.runtimeDir}/${baseNameOf program}.pid";

  generated = {
    inherit (process) name description dependencies credentials postInstall;
    runlevels = [ ];
    activities = {
      start = ''
        ${process.initialize}
        ${lib.optionalString (directory != null) "cd ${directory}"}
        ${lib.optionalString (nice != null) "nice -n ${toString nice} "}${common.startInBackground process}
      '';
      stop = "kill $(cat ${pidFile})\n";
      reload = "kill -HUP $(cat ${pidFile})\n";
      status = "kill -0 $(cat ${pidFile})\n";
      restart = ''
        $0 stop
        $0 start
      '';
    };
  };

  given = process.override generated;

  init = common.script given.name (
    ''
      ## BEGIN INIT INFO
      # Provides:      ${given.name}
      # Default-Start: ${toString given.runlevels}
      # Default-Stop:  ${toString otherRunlevels}
      # Should-Start:  ${toString (map (dependency: dependency.name) given.dependencies)}
      # Description:   ${given.description}
      ## END INIT INFO

    ''
    + lib.optionalString (umask != null) "umask ${umask}\n"
    + common.exports (common.withPath ([ common.pkgs.daemon ] ++ process.path) process.environment)
    + "\ncase \"$1\" in\n"
    + lib.concatStrings (lib.mapAttrsToList (activity: commands: "${activity})\n${commands};;\n") given.activities)
    + ''
      *)
      echo "Usage: $0 ${lib.concatStringsSep "|" (lib.attrNames given.activities)}" >&2
      exit 1
      ;;
      esac
    ''
  );

  otherRunlevels = lib.subtractLists given.runlevels (lib.range 0 6);
  number = n: lib.fixedWidthString 2 "0" (toString n);
  sequence = lib.foldl' lib.max 0 (map (dependency: dependency.sequence + 1) given.dependencies);

  link = letter: n: level: ''
    mkdir -p $scripts/rc${toString level}.d
    ln -s ../init.d/${given.name} $scripts/rc${toString level}.d/${letter}${number n}${given.name}
  '';
in
common.managed
  {
    inherit (given) name credentials postInstall;
    passthru = { inherit sequence; };
  }
  (
    ''
      scripts=$out/etc/rc.d
      mkdir -p $scripts/init.d
      ln -s ${init} $scripts/init.d/${given.name}
    ''
    + lib.concatMapStrings (link "S" sequence) given.runlevels
    + lib.optionalString (given.runlevels != [ ]) (lib.concatMapStrings (link "K" (99 - sequence)) otherRunlevels)
  )
