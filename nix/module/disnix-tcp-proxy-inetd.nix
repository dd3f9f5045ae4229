# Programs for the clients that a proxy of this machine hands over.
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
    mkOption
    nameValuePair
    types
    ;

  cfg = lib.filterAttrs (_: instance: instance.enable) config.services.disnix-tcp-proxy-inetd;

  own = import ./types.nix { inherit lib; };
  units = import ./units.nix { inherit lib pkgs; };
  inherit (import ./options.nix { inherit lib pkgs; }) logLevel mkProgramOption variables;

  instance =
    { name, ... }:
    {
      options = {
        enable = lib.mkEnableOption "the program ${name}" // {
          default = true;
        };

        command = mkOption {
          type = types.singleLineStr;
          default = "";
          example = literalExpression ''"''${pkgs.git}/bin/git daemon --inetd --export-all /srv/git"'';
          description = ''
            The program that is run for each client, by its whole path, and its arguments. systemd divides it into
            words and respects quotes. A `$` is not special.
          '';
        };

        environment = mkOption {
          type = types.attrsOf types.str;
          default = { };
          example = {
            GIT_CONFIG_COUNT = "1";
            GIT_CONFIG_KEY_0 = "safe.directory";
            GIT_CONFIG_VALUE_0 = "*";
          };
          description = "Environment variables of the program.";
        };

        processesMax = mkProgramOption types.ints.positive ''
          The most processes at a time, one for each client; further clients wait.
        '' 8;

        exitIdleTime = mkProgramOption own.timeSpan ''
          disnix-tcp-proxy-inetd exits when no process has run for this time; the next client starts it again.
          `infinity` keeps it running.
        '' "infinity";

        drainTimeout = mkProgramOption own.timeSpan ''
          How long processes may go on when disnix-tcp-proxy-inetd is stopped or restarted.
        '' "5min";

        logLevel = mkProgramOption logLevel ''
          How much is logged; `debug` logs every process.
        '' "debug";
      };
    };

  forInstances = unit: value: mapAttrs' (name: instance: nameValuePair (unit name) (value instance)) cfg;
in
{
  options.services.disnix-tcp-proxy-inetd = mkOption {
    type = types.attrsOf (types.submodule instance);
    default = { };
    example = literalExpression ''
      {
        git.command = "''${pkgs.git}/bin/git daemon --inetd --export-all /srv/git";
      }
    '';
    description = ''
      Programs that speak on standard input and output, for each client of a proxy whose target is
      `handover:/run/disnix-tcp-proxy-inetd/NAME`. The units are {file}`disnix-tcp-proxy-inetd@NAME.socket` and
      {file}`disnix-tcp-proxy-inetd@NAME.service`.
    '';
  };

  config = lib.mkIf (cfg != { }) {
    assertions = lib.concatLists (
      lib.mapAttrsToList (name: instance: [
        {
          assertion = builtins.match "[A-Za-z0-9_-]{1,64}" name != null;
          message = ''
            services.disnix-tcp-proxy-inetd: “${name}” cannot be the name of a program, because its units and its
            socket are called after it. A name has letters, digits, - and _, at most 64.
          '';
        }
        {
          assertion = builtins.match "/.*" instance.command != null;
          message = ''
            services.disnix-tcp-proxy-inetd.${name}.command must begin with the whole path of a program, because
            there is no PATH: "''${pkgs.git}/bin/git daemon --inetd", for example.
          '';
        }
      ]) cfg
    );

    # Of the proxies, SocketGroup= of the shipped unit.
    users.groups.disnix-tcp-proxy-handover = { };

    systemd.packages = [
      (units.pick config.services.disnix-tcp-proxy.package (
        lib.concatMapAttrs (name: _: {
          "disnix-tcp-proxy-inetd@${name}.service" = "disnix-tcp-proxy-inetd@.service";
          "disnix-tcp-proxy-inetd-pause@${name}.service" = "disnix-tcp-proxy-inetd-pause@.service";
          "disnix-tcp-proxy-inetd@${name}.socket" = "disnix-tcp-proxy-inetd@.socket";
        }) cfg
      ))
    ];

    systemd.services = forInstances (name: "disnix-tcp-proxy-inetd@${name}") (
      instance:
      units.keepSocket
      // {
        environment =
          units.plainEnvironment
          // variables (
            instance.environment
            // {
              DISNIX_TCP_PROXY_INETD_COMMAND = instance.command;
              DISNIX_TCP_PROXY_INETD_PROCESSES_MAX = instance.processesMax;
              DISNIX_TCP_PROXY_INETD_EXIT_IDLE_TIME = instance.exitIdleTime;
              DISNIX_TCP_PROXY_INETD_DRAIN_TIMEOUT = instance.drainTimeout;
              DISNIX_TCP_PROXY_INETD_LOG_LEVEL = instance.logLevel;
            }
          );
      }
    );

    systemd.sockets = forInstances (name: "disnix-tcp-proxy-inetd@${name}") (_: {
      wantedBy = [ "sockets.target" ];
    });
  };
}
