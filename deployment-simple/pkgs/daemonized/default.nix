{ lib, stdenv, daemon, writeScript, runCommand, pidFileOf, currentModules }:

# A component for Dysnomia's module `process`: a program that is put into the background.
{ name
, command
# Shell commands to run before it starts
, prepare ? ""
# A script for Dysnomia's module `wrapper`
, wrapper ? null
}:

let
  pidFile = pidFileOf name command;

  process = writeScript name ''
    #! ${stdenv.shell} -e
    ${prepare}
    exec ${daemon}/bin/daemon --unsafe --pidfile ${pidFile} -- ${lib.escapeShellArgs command}
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
