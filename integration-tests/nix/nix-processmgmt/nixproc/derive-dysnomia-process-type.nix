# Which of Dysnomia's modules starts and stops what a process manager's backend generates.
{ processManager }:

let
  types = {
    bsdrc = "bsdrc-script";
    cygrunsrv = "cygrunsrv-service";
    disnix = "process";
    launchd = "launchd-daemon";
    s6-rc = "s6-rc-service";
    supervisord = "supervisord-program";
    systemd = "systemd-unit";
    sysvinit = "sysvinit-script";
  };
in
types.${toString processManager}
  or (throw "This stand-in for nix-processmgmt has no process manager ${toString processManager}")
