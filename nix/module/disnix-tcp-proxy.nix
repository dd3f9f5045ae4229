{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib)
    literalExpression
    mapAttrs'
    mkIf
    mkOption
    nameValuePair
    types
    ;

  cfg = config.services.disnix-tcp-proxy;
  instances = lib.filterAttrs (_: instance: instance.enable) cfg.instances;

  own = import ./types.nix { inherit lib; };
  inherit (import ./options.nix { inherit lib pkgs; })
    logLevel
    mkListenOption
    mkOpenFirewallOption
    mkPackageOption
    mkProgramOption
    variables
    ;
  addresses = import ./addresses.nix { inherit lib; };
  units = import ./units.nix { inherit lib pkgs; };

  instance =
    { name, ... }:
    {
      options = {
        enable = lib.mkEnableOption "the proxy ${name}" // {
          default = true;
        };

        listen = mkListenOption [ ] ''[ 80 "192.0.2.1:8080" "[2001:db8::1]:8080" "/run/web.sock" ]'';

        target = mkProgramOption own.target ''
          The address of the service. With null,
          {command}`disnix-tcp-proxyctl --instance NAME set-target TARGET` sets it; it survives a
          reboot, and clients wait until it is set. Otherwise it is fixed, and `set-target` is
          refused.
        '' "192.0.2.7:8080";

        exitIdleTime = mkProgramOption own.timeSpan ''
          The process exits when no connection was open for this time; the next client starts it again.
          `infinity` keeps it running.
        '' "infinity";

        connectTimeout = mkProgramOption own.timeSpan ''
          How long the proxy retries the target while a client waits.
        '' "1min";

        drainTimeout = mkProgramOption own.timeSpan ''
          How long open connections may continue when the proxy is stopped or restarted; then they are
          reset. A `nixos-rebuild switch` that restarts the proxy may take that long. Without effect if
          connections are kept ({option}`keepConnections`).
        '' "5min";

        keepConnections = mkProgramOption types.bool ''
          Whether open connections continue in the next process when the proxy is restarted, upgraded or
          killed. systemd holds them in between. With null they are kept where that is possible; with
          true the proxy does not start where it is not.
        '' false;

        respawn = mkProgramOption types.bool ''
          Whether the last will of a killed process starts the next one, within milliseconds. With
          false systemd starts it. Null is true.
        '' false;

        idleTimeout = mkProgramOption own.timeSpan ''
          A connection that carried nothing for this time is reset.
        '' "1h";

        stallTimeout = mkProgramOption own.timeSpan ''
          A connection is reset when its receiver accepts no data for this time while data is pending.
          `infinity` turns it off.
        '' "1h";

        keepalive = mkProgramOption own.keepalive ''
          A peer that does not answer the kernel's probes for this time counts as vanished, and its
          connection is reset. At least 2s; `infinity` turns it off.
        '' "30s";

        connectionsMax = mkProgramOption types.ints.positive ''
          The most connections open at a time; further clients wait in the queue. Each takes two file
          descriptors, and systemd holds up to four for each kept connection: above 30,000 raise
          `LimitNOFILE=` of the service too.
        '' 512;

        connectionsMaxPerSource = mkProgramOption types.ints.positive ''
          The most connections open at a time from one source, an IPv4 address or a /64 of IPv6; further
          clients from there are reset. With null there is no such limit.
        '' 100;

        threads = mkProgramOption types.ints.positive ''
          The most threads that carry connections; with null the number of processors. They are started
          on demand.
        '' 1;

        proxyProtocol =
          mkProgramOption
            (types.enum [
              "v1"
              "v2"
            ])
            ''
              Send the client's address to the target, in a header of this version of the PROXY protocol.
            ''
            "v2";

        requests =
          mkProgramOption
            (types.enum [
              "none"
              "lines"
              "http"
            ])
            ''
              How a request and its reply are recognised, so that clients can stay connected while the
              service is replaced; see disnix-tcp-proxy(8), *CLIENTS THAT STAY*. It is a promise that no
              request depends on an earlier one of its connection. With `lines` a request is a line, and so
              is its reply: a protocol with logins, `SELECT`, `MULTI` or greetings is corrupted by it.
              If the service does not reply to each line with exactly one line, the next line of the client
              waits for ever.
            ''
            "http";

        detachIdle = mkProgramOption own.timeSpan ''
          When no request was under way for this time, the connection to the target ends and the client
          stays, so that the service can exit when it is idle. Only with {option}`requests`.
        '' "1min";

        logLevel = mkProgramOption logLevel ''
          How much is logged; `debug` logs every connection.
        '' "debug";

        backlog = mkOption {
          type = types.nullOr types.ints.positive;
          default = null;
          example = 16384;
          description = ''
            How many clients can wait while the proxy is locked, stopped or replaced. The kernel caps
            it at `boot.kernel.sysctl."net.core.somaxconn"`. A change takes effect when the socket is
            next opened.
          '';
        };

        health = mkOption {
          type = types.nullOr own.listenAddress;
          default = null;
          example = "10.0.0.11:8081";
          description = ''
            Where a load balancer asks over HTTP whether clients pass, an address as in {option}`listen`. The
            firewall is not opened for it. A change closes the sockets and opens them again.
          '';
        };

        openFirewall = mkOpenFirewallOption;

        lock = {
          services = mkOption {
            type = types.listOf own.serviceName;
            default = [ ];
            example = [ "postgresql" ];
            description = ''
              Services on this machine that are behind the proxy, by their names in
              {option}`systemd.services`. Before one of them is stopped or restarted the proxy is
              locked, and it is unlocked when all of them have started. So `nixos-rebuild switch`
              waits until their clients have left, and new clients wait until it is done.
            '';
          };

          timeout = mkOption {
            type = own.timeSpan;
            default = "5min";
            example = "infinity";
            description = ''
              How long to wait for open connections to end. Then the services are stopped all the same.
            '';
          };

          progressTimeout = mkOption {
            type = own.timeSpan;
            default = "infinity";
            example = "1min";
            description = ''
              Stop waiting when no client has left for this time: some clients need a new connection
              before they close an old one, and so never leave while new ones wait.
            '';
          };

          closeIdle = mkOption {
            type = own.timeSpan;
            default = "infinity";
            example = "1s";
            description = ''
              Close a connection when it has been idle for this time, and its client waits for no reply: for
              clients that keep their connections.
            '';
          };

          lease = mkOption {
            type = own.timeSpan;
            default = "15min";
            example = "1h";
            description = ''
              How long the lock may last if the services do not start again. Then the gate opens all
              the same.
            '';
          };
        };
      };
    };

  environment =
    instance:
    variables {
      DISNIX_TCP_PROXY_TARGET = instance.target;
      DISNIX_TCP_PROXY_EXIT_IDLE_TIME = instance.exitIdleTime;
      DISNIX_TCP_PROXY_CONNECT_TIMEOUT = instance.connectTimeout;
      DISNIX_TCP_PROXY_DRAIN_TIMEOUT = instance.drainTimeout;
      DISNIX_TCP_PROXY_KEEP_CONNECTIONS = instance.keepConnections;
      DISNIX_TCP_PROXY_RESPAWN = instance.respawn;
      DISNIX_TCP_PROXY_IDLE_TIMEOUT = instance.idleTimeout;
      DISNIX_TCP_PROXY_STALL_TIMEOUT = instance.stallTimeout;
      DISNIX_TCP_PROXY_KEEPALIVE = instance.keepalive;
      DISNIX_TCP_PROXY_CONNECTIONS_MAX = instance.connectionsMax;
      DISNIX_TCP_PROXY_CONNECTIONS_MAX_PER_SOURCE = instance.connectionsMaxPerSource;
      DISNIX_TCP_PROXY_THREADS = instance.threads;
      DISNIX_TCP_PROXY_PROXY_PROTOCOL = instance.proxyProtocol;
      DISNIX_TCP_PROXY_REQUESTS = instance.requests;
      DISNIX_TCP_PROXY_DETACH_IDLE = instance.detachIdle;
      DISNIX_TCP_PROXY_HEALTH = instance.health;
      DISNIX_TCP_PROXY_LOG_LEVEL = instance.logLevel;
    };

  # The sockets of services.disnix-tcp-proxy-inetd.
  inetd = "handover:/run/disnix-tcp-proxy-inetd/";

  addressesOf = instance: instance.listen ++ lib.optional (instance.health != null) instance.health;

  recognises = instance: instance.requests != null && instance.requests != "none";

  # For an instance of a template the template is enough.
  isService =
    service:
    let
      template = builtins.match "([^@]+@).+" service;
      names = [ service ] ++ lib.optionals (template != null) template;
    in
    lib.any (name: config.systemd.services.${name}.enable or (config.systemd.services ? ${name})) names;

  forInstances = unit: value: mapAttrs' (name: instance: nameValuePair (unit name) (value name instance)) instances;
in
{
  options.services.disnix-tcp-proxy = {
    package = mkPackageOption;

    operators = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "alice" ];
      description = ''
        Users who may lock and control the proxies of this machine with
        {command}`disnix-tcp-proxyctl`, besides root. They become members of the group
        `disnix-tcp-proxy`.
      '';
    };

    metrics = {
      enable = lib.mkEnableOption ''
        metrics of all proxies for Prometheus and {command}`systemd-report`; a proxy that sleeps is not started for them'';

      listen = mkListenOption [
        "127.0.0.1:9549"
        "/run/systemd/report/io.github.disnix-proxy-example.Proxy"
      ] ''[ "/run/disnix-tcp-proxy-metrics.sock" ]'';
    };

    instances = mkOption {
      type = types.attrsOf (types.submodule instance);
      default = { };
      example = literalExpression ''
        {
          web = {
            listen = [ 80 ];
            target = "127.0.0.1:8080";
          };
        }
      '';
      description = ''
        The proxies of this machine. The name is the argument of {command}`disnix-tcp-proxyctl --instance`;
        the units are {file}`disnix-tcp-proxy@NAME.socket`, {file}`disnix-tcp-proxy-control@NAME.socket`
        and {file}`disnix-tcp-proxy@NAME.service`.
      '';
    };
  };

  config = mkIf (instances != { }) {
    assertions = lib.concatLists (
      lib.mapAttrsToList (name: instance: [
        {
          assertion = builtins.match "[A-Za-z0-9_-]{1,27}" name != null;
          message = ''
            services.disnix-tcp-proxy.instances: “${name}” cannot be the name of a proxy, because its user
            and its directories are called after it. A name has letters, digits, - and _, at most 27.
          '';
        }
        {
          assertion = instance.listen != [ ];
          message = ''
            services.disnix-tcp-proxy.instances.${name}.listen is empty: no client could reach this proxy.
            Say where clients arrive, for example listen = [ 80 ].
          '';
        }
        {
          assertion = recognises instance || builtins.elem instance.detachIdle [ null "infinity" ];
          message = ''
            services.disnix-tcp-proxy.instances.${name}.detachIdle needs requests: how the proxy knows that no
            request is under way.
          '';
        }
        {
          assertion = !(recognises instance && lib.hasPrefix "handover:" (toString instance.target));
          message = ''
            services.disnix-tcp-proxy.instances.${name}: the requests of clients that are handed over cannot be
            recognised, because their bytes do not pass through the proxy. Leave requests or the target
            ${toString instance.target} out.
          '';
        }
        {
          assertion =
            !lib.hasPrefix inetd (toString instance.target)
            || config.services.disnix-tcp-proxy-inetd.${lib.removePrefix inetd instance.target}.enable or false;
          message = ''
            services.disnix-tcp-proxy.instances.${name}.target is ${toString instance.target}, but there is no
            services.disnix-tcp-proxy-inetd.${lib.removePrefix inetd (toString instance.target)}. Nobody would take the
            clients. Say there which program does.
          '';
        }
        {
          assertion = lib.all isService instance.lock.services;
          message = ''
            services.disnix-tcp-proxy.instances.${name}.lock.services: there is no systemd.services.${
              toString (lib.filter (service: !isService service) instance.lock.services)
            }. Nobody would lock the proxy for it. Give the name that the service has in systemd.services.
          '';
        }
      ]) instances
    );

    # Who may use the control sockets: SocketGroup= of the shipped units.
    users.groups.disnix-tcp-proxy.members = cfg.operators;

    systemd.packages = [
      (units.pick cfg.package (
        lib.concatMapAttrs (name: _: {
          "disnix-tcp-proxy@${name}.service" = "disnix-tcp-proxy@.service";
          "disnix-tcp-proxy-pause@${name}.service" = "disnix-tcp-proxy-pause@.service";
          "disnix-tcp-proxy@${name}.socket" = "disnix-tcp-proxy@.socket";
          "disnix-tcp-proxy-control@${name}.socket" = "disnix-tcp-proxy-control@.socket";
        }) instances
        // lib.optionalAttrs cfg.metrics.enable (
          lib.genAttrs [ "disnix-tcp-proxy-metrics.service" "disnix-tcp-proxy-metrics.socket" ] (name: name)
        )
      ))
    ];

    systemd.services = lib.optionalAttrs cfg.metrics.enable {
      disnix-tcp-proxy-metrics = units.keepSocket // {
        environment = units.plainEnvironment;
        # It asks systemctl.
        path = lib.mkForce [ config.systemd.package ];
      };
    } // forInstances (name: "disnix-tcp-proxy@${name}") (
      _: instance:
      units.keepSocket
      // {
        environment = units.plainEnvironment // environment instance;
        # The shipped unit allows the other families, and may send to no service.
        serviceConfig = lib.optionalAttrs (lib.hasPrefix "vsock:" (toString instance.target)) {
          RestrictAddressFamilies = "AF_VSOCK";
        } // lib.optionalAttrs (lib.hasPrefix inetd (toString instance.target)) {
          SupplementaryGroups = "disnix-tcp-proxy-handover";
        };
      }
    );

    systemd.sockets =
      lib.optionalAttrs cfg.metrics.enable {
        disnix-tcp-proxy-metrics = {
          wantedBy = [ "sockets.target" ];
          listenStreams = [ "" ] ++ map toString cfg.metrics.listen;
        };
      }
      // forInstances (name: "disnix-tcp-proxy@${name}") (
        _: instance: {
          wantedBy = [ "sockets.target" ];
          listenStreams = map toString (addressesOf instance);
          socketConfig = lib.optionalAttrs (instance.backlog != null) { Backlog = instance.backlog; };
        }
      )
      // forInstances (name: "disnix-tcp-proxy-control@${name}") (
        _: _: { wantedBy = [ "sockets.target" ]; }
      );

    systemd.units =
      forInstances (name: "disnix-tcp-proxy-reopen-${name}.service") (
        name: instance: units.reopen "disnix-tcp-proxy@${name}.socket" (addressesOf instance)
      )
      // lib.filterAttrs (_: unit: unit.wantedBy != [ ]) (
        forInstances (name: "disnix-tcp-proxy-lock-${name}.service") (
          name: instance: units.lock name instance.lock
        )
      );

    networking.firewall.allowedTCPPorts = addresses.reachablePorts (
      lib.concatMap (instance: lib.optionals instance.openFirewall instance.listen) (
        builtins.attrValues instances
      )
    );
  };
}
