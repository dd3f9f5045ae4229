# A PID file for each version of a process. Dysnomia's module `process` stops a process without waiting for
# its end, and does not start one whose PID file exists; with one name for all versions it would sometimes
# not start the next one.
{ lib, runtimeDir }:

name: command:
let
  version = builtins.substring 0 8 (builtins.hashString "sha256" (builtins.unsafeDiscardStringContext (toString command)));
in
"${runtimeDir}/${name}-${version}.pid"
