# How the shipped units are put into a NixOS system, and what a `nixos-rebuild switch` does to them.
#
# Where it says "switch", the source is nixpkgs,
# pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs (and switch-to-configuration.pl, which it
# replaced and which does the same).
{ lib, pkgs }:

{
  # Units of a package, { name = file in the package; }, and only those: `systemd.packages` links
  # everything that is in a package, and two packages with units of the same name do not go together.
  #
  # An instance of a template gets a file of its own, a copy of the template. systemd would not need
  # it, but switch does: it stops a unit whose file has disappeared, and when an instance is removed
  # from the configuration the template is still there. Drop-ins go beside that file by themselves
  # (`generateUnits` in nixos/lib/systemd-lib.nix).
  pick =
    package: names:
    pkgs.runCommand "disnix-proxy-example-units" { } ''
      mkdir -p $out/lib/systemd/system
      ${lib.concatStrings (
        lib.mapAttrsToList (name: file: ''
          cp ${package}/lib/systemd/system/${file} $out/lib/systemd/system/${name}
        '') names
      )}
    '';

  # Switch compares the text of a service, drop-ins included. When the package has changed, so has
  # ExecStart=, and no trigger is needed. What then happens:
  #
  # - by default the service is stopped and started, and so are the sockets that it names in Sockets=,
  #   unless with %i: everybody who waits is cut off;
  # - with `stopIfChanged = false` the service is restarted in the new configuration. systemd keeps
  #   the sockets open meanwhile. A service that is not running is left alone: its next client
  #   starts the new one.
  keepSocket = {
    stopIfChanged = false;

    # Services of NixOS have coreutils, systemd and others in PATH. The programs run nothing, and
    # should not be restarted because one of those has changed.
    path = lib.mkForce [ ];
  };

  # Likewise: these would change with the locales and the time zones of the system, which the programs do
  # not use.
  plainEnvironment = {
    LOCALE_ARCHIVE = null;
    TZDIR = null;
  };

  # A socket is left alone by switch, whatever has changed. After the daemon-reload systemd has
  # closed what is no longer configured and has not opened what is new ("The socket unit is not
  # fully functional until restarted", src/core/socket.c). So this unit restarts it: when nothing
  # but X-Reload-Triggers= has changed, switch reloads a unit.
  #
  # It is written as text, and with paths that stay the same, because anything else that changed
  # in it would turn the reload into a restart, which does nothing. So does the start at boot.
  reopen = socket: addresses: {
    wantedBy = [ "multi-user.target" ];
    text = ''
      [Unit]
      Description=Opens ${socket} again when its addresses have changed
      X-Reload-Triggers=${toString addresses}

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/run/current-system/sw/bin/true
      ExecReload=/run/current-system/systemd/bin/systemctl restart ${socket}
    '';
  };

  # A unit that is there while the services are: its start unlocks the proxy, its stop locks it.
  # systemd starts it after them (Wants= of each of them, After=), and stops it before one of them is
  # stopped or restarted (Requires=, After=). If a service does not start, neither does this unit, and
  # the proxy stays locked: clients wait until a rollback or the end of the lease.
  #
  # There is no ordering between this unit and the proxy: while the one stops the other could not
  # start, and the lock must be able to start it. At a shutdown it could not either, so then there
  # is no lock. Nor when the proxy is removed: switch leaves this unit alone then.
  #
  # Its own changes take effect without a restart, which would lock the proxy for nothing; and its
  # text does not change with the package.
  lock =
    name: options:
    let
      services = map (service: "${service}.service") options.services;
      ctl = "/run/current-system/sw/bin/disnix-tcp-proxyctl --instance ${name}";
      systemctl = "/run/current-system/systemd/bin/systemctl";
      isStopping = ''[ "$(${systemctl} is-system-running)" = stopping ]'';
      # A proxy that goes at the same time would be waited for, for the half minute of a restart.
      isThere = "${systemctl} is-active --quiet disnix-tcp-proxy-control@${name}.socket";
    in
    {
      wantedBy = services;
      text = ''
        [Unit]
        Description=Lock of disnix-tcp-proxy ${name} while what is behind it is away
        Requires=${toString services}
        After=${toString services}
        X-StopOnRemoval=false

        [Service]
        Type=oneshot
        RemainAfterExit=yes
        X-RestartIfChanged=false
        ExecStart=-${ctl} unlock
        ExecStop=-/bin/sh -c '${isStopping} || ! ${isThere} || exec ${ctl} lock --reason "a service is replaced" "--timeout=${toString options.timeout}" "--progress-timeout=${toString options.progressTimeout}" "--lease=${toString options.lease}"'
        TimeoutStopSec=infinity
      '';
    };
}
