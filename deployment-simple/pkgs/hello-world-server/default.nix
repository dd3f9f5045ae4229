{ lib, daemonized, parameters, options, disnix-proxy-example }:

# Parameters: hello_world_server in nix/disnix/parameters.nix.
given:

let
  parameter = parameters.server ({ package = disnix-proxy-example; } // given);
in
assert lib.assertMsg (!parameter.enableSystemdSocketActivation)
  "hello_world_server: for enableSystemdSocketActivation take the models in deployment/";

daemonized {
  name = "hello-world-server";
  ports = [ parameter.port ];
  command =
    [ "${parameter.package}/bin/hello-world-server" ]
    ++ options {
      bind-timeout = parameter.bindTimeout;
      drain-timeout = parameter.drainTimeout;
      connections-max = parameter.connectionsMax;
      greeting = parameter.greeting;
    }
    ++ [ (toString parameter.port) ];
}
