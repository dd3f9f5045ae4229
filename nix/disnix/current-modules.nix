# Shell commands that write etc/MODULE_config for Dysnomia's modules of these names. Its legacy modules have
# the same names but turn the component into a job of the system's service manager. They read this file
# first, which makes them fail with a message; the current modules do not read it.
{ lib, writeText }:

modules:
lib.concatMapStrings (
  module:
  let
    file = writeText "${module}_config" ''
      if [ "$1" = activate ]
      then
          echo "This needs Dysnomia's module \`${module}' of today, and here is the legacy one. On NixOS set dysnomia.enableLegacyModules = false; elsewhere configure Dysnomia without --enable-legacy." >&2
          exit 1
      fi
    '';
  in
  "install -D -m 644 ${file} $out/etc/${module}_config\n"
) modules
