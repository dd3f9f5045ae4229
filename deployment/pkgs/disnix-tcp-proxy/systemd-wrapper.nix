# The script for Dysnomia's module `wrapper`, for a proxy that is a socket-activated systemd unit.
{ lib, stdenv, dysnomia, systemd, writeScript }:
{ package, control, lease, instanceName, port }:

writeScript "disnix-tcp-proxy-wrapper" (
  lib.replaceStrings
    [ "@shell@" "@module@" "@systemd@" "@proxyctl@" "@control@" "@lease@" "@instanceName@" "@port@" ]
    [
      stdenv.shell
      "${dysnomia}/libexec/dysnomia/systemd-unit"
      "${systemd}"
      "${package}/bin/disnix-tcp-proxyctl"
      control
      lease
      instanceName
      (toString port)
    ]
    (builtins.readFile ./systemd-wrapper.sh)
)
