# The client connects to the proxy, and the proxy to the server. An upgrade waits until no client is
# connected, while new clients wait.
{ system
, distribution
, invDistribution
, pkgs
, stateDir ? "/var"
, runtimeDir ? "${stateDir}/run"
# Parameters of the services: nix/disnix/parameters.nix
, server ? { }
, proxy ? { }
, route ? { }
}:

let
  customPkgs = import ../top-level/all-packages.nix {
    inherit system pkgs stateDir runtimeDir;
  };

  ids = if builtins.pathExists ./ids.nix then (import ./ids.nix).ids else { };

  placement = import ../../nix/disnix/placement.nix {
    inherit (pkgs) lib;
    inherit distribution;
  };

  # Without hello_world_route in the distribution model the proxy includes it, and depends on the server.
  withRoute = if placement.hasRoute then _: proxy: proxy else customPkgs.proxyWithRoute;
in
placement.check rec {
  hello_world_server = rec {
    name = "hello_world_server";
    port = server.port or ids.ports.hello_world_server or 0;
    pkg = customPkgs.hello_world_server ({ inherit port; } // server);
    type = "process";
    requiresUniqueIdsFor = [ "ports" ];
  };

  hello_world_client = {
    name = "hello_world_client";
    pkg = customPkgs.hello_world_client;
    dependsOn = {
      hello_world_server = disnix_tcp_proxy;
    };
    type = "package";
  };

  # It does not depend on the server, so that a new server does not replace it and close its socket.
  disnix_tcp_proxy = withRoute { inherit hello_world_server; route = hello_world_route.pkg; } rec {
    name = "disnix_tcp_proxy";
    port = proxy.port or ids.ports.disnix_tcp_proxy or 0;
    pkg = customPkgs.disnix_tcp_proxy ({ inherit port; } // proxy);
    inherit (customPkgs.proxyOf ({ inherit port; } // proxy)) control;
    type = "wrapper";
    requiresUniqueIdsFor = [ "ports" ];
  };

  # Sets the proxy's target, locks the proxy before an upgrade and unlocks it afterwards.
  hello_world_route = {
    name = "hello_world_route";
    pkg = customPkgs.hello_world_route route;
    dependsOn = {
      inherit hello_world_server disnix_tcp_proxy;
    };
    type = "wrapper";
  };
}
