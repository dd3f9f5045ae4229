{ lib, stdenv, daemon, util-linux, writeScript, runCommand, pidFileOf, currentModules }:

# A component for Dysnomia's module `process`: a program in the background. If root starts it, it runs
# without capabilities, as a user without a name, whose ID its first port makes unique on its machine.
{ name
, command
# Its listening ports
, ports
# Directories that it writes to
, directories ? [ ]
# A script for Dysnomia's module `wrapper`
, wrapper ? null
}:

let
  pidFile = pidFileOf name command;

  # Above the IDs of administrators, packages and systemd.
  user = toString (2100000000 + lib.head ports);

  # Listening on a port below 1024 needs a capability.
  capabilities = lib.optionalString (lib.any (port: port < 1024) ports) ",+net_bind_service";

  process = writeScript name ''
    #! ${stdenv.shell} -e
    ${lib.optionalString (directories != [ ]) "mkdir -p ${toString directories}"}
    confined=()
    if [ "$(id -u)" = 0 ]
    then
        ${lib.optionalString (directories != [ ]) "chown -R --no-dereference ${user}:${user} ${toString directories}"}
        confined=(
            ${util-linux}/bin/setpriv --reuid=${user} --regid=${user} --clear-groups --no-new-privs
            --bounding-set=-all${capabilities} --inh-caps=-all${capabilities} --ambient-caps=-all${capabilities}
        )
    fi
    exec ${daemon}/bin/daemon --unsafe --pidfile ${pidFile} -- "''${confined[@]}" ${lib.escapeShellArgs command}
  '';
in
runCommand name { } ''
  install -D -m 755 ${process} $out/bin/${name}
  mkdir -p $out/etc/dysnomia/process
  {
      echo process=$out/bin/${name}
      echo pidFile=${pidFile}
  } > $out/etc/dysnomia/process/${name}
  ${lib.optionalString (wrapper != null) "install -D -m 755 ${wrapper} $out/bin/wrapper"}
  ${currentModules ([ "process" ] ++ lib.optional (wrapper != null) "wrapper")}
''
