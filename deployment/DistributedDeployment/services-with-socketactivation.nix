# systemd holds the server's socket and starts the server for the first client; it exits when it is idle.
# With the proxy in the distribution model, clients connect to the proxy, which systemd starts in the same
# way; otherwise to the server.
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
    processManager = "systemd"; # No other one has socket activation
    server = { enableSystemdSocketActivation = true; } // server;
  };
in
if distribution ? disnix_tcp_proxy then
  import ./services-with-proxy.nix (common // { inherit proxy route; })
else
  import ./services-without-proxy.nix common
