# Where the proxy leads, and its lock, as a service of its own: the server may change or move and the
# proxy itself is left alone. It has no process; Dysnomia's module `wrapper` calls the script.
{ lib, stdenv, writeScript, runCommand, parameters, currentModules }:
given:
{ hello_world_server, disnix_tcp_proxy }:

let
  inherit (parameters.route given)
    package
    drainTimeout
    lease
    progressTimeout
    reason
    startTimeout
    ;

  host = hello_world_server.target.properties.hostname;
  bracketed = if lib.hasInfix ":" host then "[${host}]" else host; # IPv6
  target = "${bracketed}:${toString hello_world_server.port}";

  # The lease counts from the call, so it has to last for the drain as well. Adjacent time spans add.
  lockOptions = [
    # A proxy that does not run has no clients, and this upgrade may be what brings it back.
    "--if-running"
    "--timeout=${drainTimeout}"
    "--progress-timeout=${progressTimeout}"
    "--reason=${reason}"
  ]
  ++ lib.optional (drainTimeout != "infinity") "--lease=${drainTimeout} ${lease}";

  # Nobody else notices when a server of the module `process` does not start.
  targetOptions = [ target ] ++ lib.optional (startTimeout != null) "--wait=${startTimeout}";

  wrapper = writeScript "hello-world-route" ''
    #! ${stdenv.shell} -e
    # Called by Dysnomia: wrapper OPERATION CONTAINER.

    proxyctl() {
        ${package}/bin/disnix-tcp-proxyctl --control ${lib.escapeShellArg disnix_tcp_proxy.control} "$@"
    }

    case "$1" in
        activate)
            proxyctl set-target ${lib.escapeShellArgs targetOptions}
            ;;
        lock)
            proxyctl lock ${lib.escapeShellArgs lockOptions}
            ;;
        unlock)
            proxyctl unlock
            ;;
        deactivate)
            # The proxy goes on leading where it led until the next route is activated.
            ;;
        *)
            echo "hello_world_route: there is no operation $1" >&2
            exit 1
            ;;
    esac
  '';
in
runCommand "hello-world-route" { } ''
  install -D -m 755 ${wrapper} $out/bin/wrapper
  # For people: it comes into the profile of the proxy's machine.
  ln -s ${package}/bin/disnix-tcp-proxyctl $out/bin/
  ${currentModules [ "wrapper" ]}
''
