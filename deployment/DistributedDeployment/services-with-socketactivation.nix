# systemd holds the server's socket, starts it for the first client, and it ends when nobody uses it.
# With a distribution model that has the proxy, clients connect to the proxy, which systemd starts in
# the same way; without it, to the server.
{ system
, distribution
, invDistribution
, pkgs
, stateDir ? "/var"
, runtimeDir ? "${stateDir}/run"
, logDir ? "${stateDir}/log"
, cacheDir ? "${stateDir}/cache"
, tmpDir ? (if stateDir == "/var" then "/tmp" else "${stateDir}/tmp")
, forceDisableUserChange ? false
, nix-processmgmt ? ../../../nix-processmgmt
# Parameters of the services: nix/disnix/parameters.nix
, server ? { }
, proxy ? { }
, route ? { }
}:

let
  common = {
    inherit
      system
      distribution
      invDistribution
      pkgs
      stateDir
      runtimeDir
      logDir
      cacheDir
      tmpDir
      forceDisableUserChange
      nix-processmgmt
      ;
    processManager = "systemd"; # Nothing else has socket activation
    server = { enableSystemdSocketActivation = true; } // server;
  };
in
if distribution ? disnix_tcp_proxy then
  import ./services-with-proxy.nix (common // { inherit proxy route; })
else
  import ./services-without-proxy.nix common
