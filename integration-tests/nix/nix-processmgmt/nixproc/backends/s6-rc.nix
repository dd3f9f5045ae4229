# A service directory for s6-rc.
common: process:

let
  inherit (common) lib;
  inherit (process) umask directory nice;
  user = common.ownUser process.user;

  generated = {
    inherit (process) name dependencies credentials postInstall;
    run = common.script "${process.name}-run" (
      common.exports (common.withPath (common.basePackages ++ process.path) process.environment)
      + lib.optionalString (umask != null) "umask ${umask}\n"
      + lib.optionalString (directory != null) "cd ${directory}\n"
      + "exec 2>&1 ${lib.optionalString (nice != null) "nice -n ${toString nice} "}"
      + lib.optionalString (user != null) "s6-setuidgid ${user} "
      + "${lib.escapeShellArgs (common.stayInForeground process)}\n"
    );
  };

  given = process.override generated;
in
common.managed
  {
    inherit (given) name credentials postInstall;
  }
  ''
    service=$out/etc/s6/sv/${given.name}-srv
    mkdir -p $service
    echo longrun > $service/type
    ln -s ${given.run} $service/run
    ${lib.concatMapStrings (dependency: ''
      echo ${dependency.name} >> $service/dependencies
    '') given.dependencies}
  ''
