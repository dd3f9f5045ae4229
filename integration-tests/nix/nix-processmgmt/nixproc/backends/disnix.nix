# A script that starts the process in the background, for Dysnomia's module `process`.
common: process:

let
  inherit (common) lib;
  inherit (process) umask directory nice;
  pidFile = common.pidFileOf process;

  generated = {
    inherit (process) name dependencies credentials postInstall;
    process = common.script "${process.name}-process-wrapper" (
      common.exports (
        common.withPath (common.basePackages ++ [ common.pkgs.daemon ] ++ process.path) process.environment
      )
      + lib.optionalString (umask != null) "umask ${umask}\n"
      + "${process.initialize}\n"
      + lib.optionalString (directory != null) "cd ${directory}\n"
      + "exec ${lib.optionalString (nice != null) "nice -n ${toString nice} "}${common.startInBackground process}\n"
    );
  }
  // lib.optionalAttrs (pidFile != null) { inherit pidFile; };

  given = process.override generated;
in
common.managed
  {
    inherit (given) name credentials postInstall;
    passthru = { inherit (given) dependencies; };
  }
  ''
    mkdir -p $out/etc/dysnomia/process
    {
        echo process=${given.process}
        ${lib.optionalString (given ? pidFile) "echo pidFile=${given.pidFile}"}
    } > $out/etc/dysnomia/process/${given.name}
  ''
