# The script for Dysnomia's module `wrapper`, for a proxy that the module `process` runs.
{ lib, stdenv, dysnomia, writeScript }:
{ package, control, lease }:

writeScript "disnix-tcp-proxy-wrapper" (
  lib.replaceStrings
    [ "@shell@" "@module@" "@proxyctl@" "@control@" "@lease@" ]
    [
      stdenv.shell
      "${dysnomia}/libexec/dysnomia/process"
      "${package}/bin/disnix-tcp-proxyctl"
      control
      lease
    ]
    (builtins.readFile ./process-wrapper.sh)
)
