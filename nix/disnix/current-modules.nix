# Shell commands that write etc/MODULE_config for Dysnomia's modules of these names. Its legacy modules
# have the same names and do something else: they make a job of the component for the system's service
# manager. They read this file first, and then end with a sentence; the modules of today do not read it.
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
