# The target of the proxy, and its lock, as a service of its own, so that a server that changes or moves
# does not replace the proxy. It has no process; Dysnomia's module `wrapper` calls the script.
# Parameters: hello_world_route in nix/disnix/parameters.nix.
{ lib, stdenv, writeScript, runCommand, parameters, currentModules, disnix-proxy-example }:
given:
{ hello_world_server, disnix_tcp_proxy }:

let
  inherit (parameters.route ({ package = disnix-proxy-example; } // given))
    package
    closeIdle
    drainTimeout
    lease
    progressTimeout
    reason
    startTimeout
    ;

  host = hello_world_server.target.properties.hostname;
  bracketed = if lib.hasInfix ":" host then "[${host}]" else host; # IPv6
  target = "${bracketed}:${toString hello_world_server.port}";

  # The lease starts with the call, so it includes the drain. Adjacent time spans add up.
  lockOptions = [
    # A proxy that does not run has no clients, and this upgrade may be the one that starts it.
    "--if-running"
    "--timeout=${drainTimeout}"
    "--progress-timeout=${progressTimeout}"
    "--close-idle=${closeIdle}"
    "--reason=${reason}"
  ]
  ++ lib.optional (drainTimeout != "infinity") "--lease=${drainTimeout} ${lease}";

  # The module `process` does not notice that a server does not start.
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
            # The proxy keeps its target until the next route is activated.
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
  # For administrators: in the profile of the proxy's machine.
  ln -s ${package}/bin/disnix-tcp-proxyctl $out/bin/
  ${currentModules [ "wrapper" ]}
''
