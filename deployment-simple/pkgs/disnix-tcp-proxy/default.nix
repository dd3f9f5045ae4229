{ daemonized, processWrapper, parameters, proxyOf, options, stateDir, disnix-proxy-example }:

# Parameters: disnix_tcp_proxy in nix/disnix/parameters.nix.
given:

let
  parameter = parameters.proxy ({ package = disnix-proxy-example; } // given);
  inherit (proxyOf given) instance control;
  stateDirectory = "${stateDir}/lib/disnix-tcp-proxy/${instance}";
in
daemonized {
  name = "disnix-tcp-proxy-${instance}";
  inherit (parameter) port;
  directories = [ (dirOf control) stateDirectory ];
  command =
    [ "${parameter.package}/bin/disnix-tcp-proxy" ]
    ++ options {
      listen = parameter.port;
      bind-timeout = parameter.bindTimeout;
      connect-timeout = parameter.connectTimeout;
      drain-timeout = parameter.drainTimeout;
      idle-timeout = parameter.idleTimeout;
      keepalive = parameter.keepalive;
      connections-max = parameter.connectionsMax;
      connections-max-per-source = parameter.connectionsMaxPerSource;
      stall-timeout = parameter.stallTimeout;
      inherit control;
      state-directory = stateDirectory;
    }
    # From the previous version, if there is one.
    ++ [ "--take-over" ];
  wrapper = processWrapper {
    inherit (parameter) package lease;
    inherit control;
  };
}
