# A script for rc(8) of the BSDs.
common: process:

let
  inherit (common) lib;
  inherit (process) initialize umask directory nice;
  user = common.ownUser process.user;
  pidFile = common.pidFileOf process;
  background = process.daemon == null;

  generated = {
    inherit (process) name credentials postInstall dependencies;
    command = if background then "${common.pkgs.daemon}/bin/daemon" else process.daemon;
    commandArgs =
      if background then
        lib.optionals (pidFile != null) [ "--pidfile" pidFile ]
        ++ [ "--" process.foregroundProcess ]
        ++ process.foregroundProcessArgs
      else
        process.daemonArgs;
    requires = [ "DAEMON" ] ++ map (dependency: dependency.name) process.dependencies;
  };

  given = process.override generated;
  variable = lib.replaceStrings [ "-" ] [ "_" ] given.name;

  rc = common.writeTextFile {
    inherit (given) name;
    executable = true;
    text = ''
      #!/bin/sh
      # PROVIDE: ${given.name}
      # REQUIRE: ${toString given.requires}

      . /etc/rc.subr

      name=${variable}
      rcvar=${variable}_enabled
      load_rc_config $name
      command=${given.command}
      command_args="${lib.escapeShellArgs given.commandArgs}"
    ''
    + lib.optionalString (pidFile != null) "pidfile=${pidFile}\n"
    + lib.optionalString (umask != null) "umask ${umask}\n"
    + lib.optionalString (nice != null) "${variable}_nice=${toString nice}\n"
    + lib.optionalString (directory != null) "${variable}_chdir=${directory}\n"
    + lib.optionalString (user != null) "${variable}_user=${user}\n"
    + common.exports (common.withPath process.path process.environment)
    + lib.optionalString (initialize != "") ''
      start_precmd=${variable}_prepare
      ${variable}_prepare()
      {
          ${initialize}
      }
    ''
    + ''
      run_rc_command "$1"
    '';
  };
in
common.managed
  {
    inherit (given) name credentials postInstall;
  }
  ''
    mkdir -p $out/etc/rc.d
    ln -s ${rc} $out/etc/rc.d/${given.name}
  ''
