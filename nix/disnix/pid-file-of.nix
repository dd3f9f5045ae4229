# A PID file for each version of a process. Dysnomia's module `process` stops a process without waiting
# for its end, and takes whatever has its PID file for running already; with one name for all versions
# the next one would at times not be started.
{ lib, runtimeDir }:

name: command:
let
  version = builtins.substring 0 8 (builtins.hashString "sha256" (builtins.unsafeDiscardStringContext (toString command)));
in
"${runtimeDir}/${name}-${version}.pid"
