{ lib, createManagedProcess, parameters, options, shippedUnits, pidFileOf, currentModules, processManager, disnix-proxy-example }:

# Parameters: hello_world_server in nix/disnix/parameters.nix.
given:

let
  parameter = parameters.server ({ package = disnix-proxy-example; } // given);
  inherit (parameter) port package enableSystemdSocketActivation;

  underSystemd = processManager == "systemd";
  program = "${package}/bin/hello-world-server";

  args =
    options {
      drain-timeout = parameter.drainTimeout;
      connections-max = parameter.connectionsMax;
      greeting =
        # Both are special characters in a unit, systemd.service(5).
        if underSystemd && parameter.greeting != null then
          lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] parameter.greeting
        else
          parameter.greeting;
    }
    ++ (
      if enableSystemdSocketActivation then
        options { exit-idle-time = parameter.exitIdleTime; }
      else
        options { bind-timeout = parameter.bindTimeout; } ++ [ (toString port) ]
    );
in
assert lib.assertMsg (enableSystemdSocketActivation -> underSystemd)
  "hello_world_server: enableSystemdSocketActivation needs processManager = \"systemd\"";

createManagedProcess (
  {
    name = "hello-world-server";
    description = "Hello world server";
    foregroundProcess = program;
    inherit args;

    overrides.sysvinit.runlevels = [ 3 4 5 ];
  }
  // lib.optionalAttrs (processManager == "disnix") {
    pidFile = pidFileOf "hello-world-server" ([ program ] ++ args);
    postInstall = currentModules [ "process" ];
  }
  // lib.optionalAttrs underSystemd {
    postInstall =
      shippedUnits { inherit package; }
      + (
        if enableSystemdSocketActivation then
          ''
            drop_in hello-world-server.service 'hello-world-server\.socket' "s//$unit.socket/"
            socket hello-world-server.socket "$unit.socket" '^ListenStream=' 's/=.*/=${toString port}/'
          ''
        else
          ''
            drop_in hello-world-server.service '^PartOf=' d '^Sockets=' d
            cat > "$units/$unit.service.d/60-network.conf" <<EOF
            # It binds its own listener.
            [Service]
            PrivateNetwork=no
            RestrictAddressFamilies=AF_INET AF_INET6
            SocketBindDeny=
            EOF
          ''
      );
  }
)
