# The name of a proxy's instance and its control socket, which other services need to know.
{ parameters, disnix-proxy-example, runtimeDir, processManager ? null }:

given:
let
  inherit (parameters.proxy ({ package = disnix-proxy-example; } // given)) instanceName port;
  # Where the units put it, whatever the model says about directories.
  directory = if processManager == "systemd" then "/run" else runtimeDir;
in
rec {
  instance = "${instanceName}-${toString port}";
  control = "${directory}/disnix-tcp-proxy/${instance}/control";
}
