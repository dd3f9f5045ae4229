# The client connects to the server. An upgrade of the server disconnects its clients.
{ system
, distribution
, invDistribution
, pkgs
, stateDir ? "/var"
, runtimeDir ? "${stateDir}/run"
# Parameters of the server: nix/disnix/parameters.nix
, server ? { }
}:

let
  customPkgs = import ../top-level/all-packages.nix {
    inherit system pkgs stateDir runtimeDir;
  };

  ids = if builtins.pathExists ./ids.nix then (import ./ids.nix).ids else { };
in
rec {
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
      inherit hello_world_server;
    };
    type = "package";
  };
}
