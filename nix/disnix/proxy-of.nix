# A proxy of the models: its parameters, the name of its instance, its directories and its command line.
# Other services need the path of its control socket.
{ lib, parameters, options, disnix-proxy-example, stateDir, runtimeDir, processManager ? null }:

given:
let
  parameter = parameters.proxy ({ package = disnix-proxy-example; } // given);
  underSystemd = processManager == "systemd";
  addresses = import ../module/addresses.nix { inherit lib; };
  # The units fix the runtime directory.
  directory = if underSystemd then "/run" else runtimeDir;
in
rec {
  inherit parameter;
  instance = "${parameter.instanceName}-${toString parameter.port}";
  control = "${directory}/disnix-tcp-proxy/${instance}/control";
  stateDirectory = "${stateDir}/lib/disnix-tcp-proxy/${instance}";
  # Where it listens: for clients, for load balancers
  ports = [ parameter.port ] ++ lib.optional (parameter.health != null) (addresses.parse parameter.health).port;
  program = "${parameter.package}/bin/disnix-tcp-proxy";

  arguments =
    assert lib.assertMsg (!lib.elem parameter.port (lib.tail ports))
      "disnix_tcp_proxy: health is ${toString parameter.health}, but clients arrive at port ${toString parameter.port}: take another one";
    options {
      connect-timeout = parameter.connectTimeout;
      drain-timeout = parameter.drainTimeout;
      idle-timeout = parameter.idleTimeout;
      keepalive = parameter.keepalive;
      connections-max = parameter.connectionsMax;
      connections-max-per-source = parameter.connectionsMaxPerSource;
      stall-timeout = parameter.stallTimeout;
      requests = parameter.requests;
      health = parameter.health;
      detach-idle = if parameter.requests == null then null else parameter.detachIdle;
    }
    ++ (
      if underSystemd then
        # The units have the others.
        options { exit-idle-time = parameter.exitIdleTime; }
      else
        options {
          listen = parameter.port;
          bind-timeout = parameter.bindTimeout;
          inherit control;
          state-directory = stateDirectory;
        }
        # From the previous version, if it runs
        ++ [ "--take-over" ]
    );
}
