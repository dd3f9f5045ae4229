# How the shipped units are put into a NixOS system, and what a `nixos-rebuild switch` does to them.
#
# Where it says "switch", the source is nixpkgs,
# pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs (and switch-to-configuration.pl, which it
# replaced and which does the same).
{ lib, pkgs }:

{
  # Only these units of a package, { name = file in the package; }: `systemd.packages` links all units of
  # a package, and two packages with units of the same name conflict.
  #
  # An instance of a template gets a file of its own, a copy of the template. systemd does not need it,
  # but switch does: it stops a unit only when its file has disappeared, and the template stays when an
  # instance is removed. `generateUnits` (nixos/lib/systemd-lib.nix) puts drop-ins beside that file.
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

  # Switch compares the text of a service, drop-ins included. A changed package changes ExecStart=, so no
  # trigger is needed. Then
  #
  # - by default the service is stopped and started, and so are the sockets in its Sockets=, unless they
  #   are named with %i: all waiting clients are reset;
  # - with `stopIfChanged = false` the service is restarted in the new configuration, and systemd keeps
  #   the sockets open. A service that is not running is left alone: its next client starts the new
  #   version.
  keepSocket = {
    stopIfChanged = false;

    # Services of NixOS have coreutils, systemd and others in PATH. The programs run none of them, and
    # should not be restarted because one of them has changed.
    path = lib.mkForce [ ];
  };

  # Likewise: these change with the locales and the time zones of the system, which the programs do not
  # use.
  plainEnvironment = {
    LOCALE_ARCHIVE = null;
    TZDIR = null;
  };

  # Switch never restarts a socket. At the daemon-reload systemd closes addresses that are no longer
  # configured, but does not open new ones ("The socket unit is not fully functional until restarted",
  # src/core/socket.c). So this unit restarts the socket: switch reloads a unit when only its
  # X-Reload-Triggers= have changed.
  #
  # It is written as text with constant paths, because any other change would turn the reload into a
  # restart, which does nothing here, like the start at boot.
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

  # A unit that is active while the services are: its start unlocks the proxy, its stop locks it.
  # systemd starts it after them (Wants= of each of them, After=), and stops it before one of them is
  # stopped or restarted (Requires=, After=). If a service does not start, neither does this unit, and
  # the proxy stays locked: clients wait until a rollback or the end of the lease.
  #
  # This unit and the proxy are not ordered: with an order one could not start while the other stops,
  # and the lock may have to start the proxy. At a shutdown nothing can be started, so there is no lock
  # then, nor when the proxy is removed: switch leaves this unit alone then.
  #
  # Its own changes take effect without a restart, which would lock the proxy needlessly; and its text
  # does not change with the package.
  lock =
    name: options:
    let
      services = map (service: "${service}.service") options.services;
      ctl = "/run/current-system/sw/bin/disnix-tcp-proxyctl --instance ${name}";
      systemctl = "/run/current-system/systemd/bin/systemctl";
      isStopping = ''[ "$(${systemctl} is-system-running)" = stopping ]'';
      # Otherwise the call waits half a minute, the time of a restart, for a proxy that stops at the same time.
      isThere = "${systemctl} is-active --quiet disnix-tcp-proxy-control@${name}.socket";
      # A service that systemd restarts by itself has no connections to wait for. Clients that were handed over wait until
      # it has started again, so a lock would wait for them until its timeout. If another service runs (any state but
      # auto-restart, dead and failed), a lock is needed.
      isRestarted = ''case "$(${systemctl} show --property=SubState ${toString services})" in *=[!adf]*|*=fi*) false ;; *=auto-restart*) true ;; *) false ;; esac'';
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
        ExecStop=-/bin/sh -c '${isStopping} || ! ${isThere} || ${isRestarted} || exec ${ctl} lock --reason "a service is replaced" "--timeout=${toString options.timeout}" "--progress-timeout=${toString options.progressTimeout}" "--close-idle=${toString options.closeIdle}" "--lease=${toString options.lease}"'
        TimeoutStopSec=infinity
      '';
    };
}
