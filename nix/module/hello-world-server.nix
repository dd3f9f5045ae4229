{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) types;

  cfg = config.services.hello-world-server;

  own = import ./types.nix { inherit lib; };
  addresses = import ./addresses.nix { inherit lib; };
  units = import ./units.nix { inherit lib pkgs; };
  inherit (import ./options.nix { inherit lib pkgs; })
    logLevel
    mkListenOption
    mkOpenFirewallOption
    mkPackageOption
    mkProgramOption
    variables
    ;
in
{
  options.services.hello-world-server = {
    enable = lib.mkEnableOption "the example service that systemd starts for its first client";

    package = mkPackageOption;

    listen = mkListenOption [ 5000 ] ''[ "127.0.0.1:5000" ]'';

    exitIdleTime = mkProgramOption own.timeSpan ''
      The process exits when no connection was open for this time; the next client starts it again.
      `infinity` keeps it running.
    '' "infinity";

    drainTimeout = mkProgramOption own.timeSpan ''
      How long open connections may continue when the server is stopped.
    '' "5min";

    connectionsMax = mkProgramOption types.ints.positive ''
      The most connections open at a time; further clients wait in the queue.
    '' 512;

    greeting = mkProgramOption types.singleLineStr ''
      The answer to `hello`.
    '' "Hello again!";

    logLevel = mkProgramOption logLevel ''
      How much is logged; `debug` logs every connection.
    '' "debug";

    openFirewall = mkOpenFirewallOption;
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.listen != [ ];
        message = ''
          services.hello-world-server.listen is empty: no client could reach the server.
          Say where clients arrive, for example listen = [ 5000 ].
        '';
      }
    ];

    systemd.packages = [
      (units.pick cfg.package {
        "hello-world-server.service" = "hello-world-server.service";
        "hello-world-server-pause.service" = "hello-world-server-pause.service";
        "hello-world-server.socket" = "hello-world-server.socket";
      })
    ];

    systemd.services.hello-world-server = units.keepSocket // {
      environment =
        units.plainEnvironment
        // variables {
          HELLO_WORLD_SERVER_EXIT_IDLE_TIME = cfg.exitIdleTime;
          HELLO_WORLD_SERVER_DRAIN_TIMEOUT = cfg.drainTimeout;
          HELLO_WORLD_SERVER_CONNECTIONS_MAX = cfg.connectionsMax;
          HELLO_WORLD_SERVER_GREETING = cfg.greeting;
          HELLO_WORLD_SERVER_LOG_LEVEL = cfg.logLevel;
        };
    };

    systemd.sockets.hello-world-server = {
      wantedBy = [ "sockets.target" ];
      # The empty string removes the address of the shipped unit.
      listenStreams = [ "" ] ++ map toString cfg.listen;
    };

    systemd.units."hello-world-server-reopen.service" =
      units.reopen "hello-world-server.socket" cfg.listen;

    networking.firewall.allowedTCPPorts = lib.optionals cfg.openFirewall (
      addresses.reachablePorts cfg.listen
    );
  };
}
