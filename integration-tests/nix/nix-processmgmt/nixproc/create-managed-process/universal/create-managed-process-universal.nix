# A small stand-in for the function of nix-processmgmt with this path and these parameters: a process,
# described once, becomes what a process manager needs to run it. Take the real one where there is one.
{ pkgs
, stateDir
, runtimeDir
, logDir
, tmpDir
, forceDisableUserChange ? false
, processManager ? null
, ids ? { }
}:

let
  common = import ../../common.nix {
    inherit
      pkgs
      runtimeDir
      logDir
      tmpDir
      forceDisableUserChange
      ids
      ;
  };

  backends = {
    bsdrc = import ../../backends/bsdrc.nix;
    cygrunsrv = import ../../backends/cygrunsrv.nix;
    disnix = import ../../backends/disnix.nix;
    launchd = import ../../backends/launchd.nix;
    s6-rc = import ../../backends/s6-rc.nix;
    supervisord = import ../../backends/supervisord.nix;
    systemd = import ../../backends/systemd.nix;
    sysvinit = import ../../backends/sysvinit.nix;
  };

  backend =
    backends.${toString processManager}
      or (throw "This stand-in for nix-processmgmt has no process manager ${toString processManager}");
in
{ name ? instanceName
, description ? name
# Shell commands that run as root before the process starts
, initialize ? ""
# A program that can run in both ways, or two: the one that puts itself into the background, and the
# one that does not
, process ? null
, daemon ? process
, foregroundProcess ? process
, args ? [ ]
, daemonExtraArgs ? [ ]
, daemonArgs ? args ++ daemonExtraArgs
, foregroundProcessExtraArgs ? [ ]
, foregroundProcessArgs ? args ++ foregroundProcessExtraArgs
, instanceName ? null
, pidFile ? null
, path ? [ ]
, environment ? { }
, directory ? null
, umask ? null
, nice ? null
, user ? null
# Other managed processes, which start first
, dependencies ? [ ]
# Users and groups to create
, credentials ? { }
# What only one process manager is to be given: { systemd.Service.Restart = "always"; }, or a function
# from what was generated for it
, overrides ? { }
# Shell commands after $out has been filled
, postInstall ? ""
}:

assert name != null || throw "a managed process needs a name or an instanceName";

backend common {
  inherit
    name
    description
    initialize
    daemon
    daemonArgs
    foregroundProcess
    foregroundProcessArgs
    instanceName
    pidFile
    path
    environment
    directory
    umask
    nice
    user
    dependencies
    credentials
    postInstall
    ;

  # What the model says for this process manager, put over what was generated.
  override =
    let
      changes = overrides.${toString processManager} or { };
    in
    generated:
    if builtins.isFunction changes then changes generated else pkgs.lib.recursiveUpdate generated changes;
}
