{ lib
, createManagedProcess
, systemdWrapper
, processWrapper
, plainWrapper
, parameters
, proxyOf
, options
, shippedUnits
, pidFileOf
, currentModules
, processManager
, stateDir
, disnix-proxy-example
}:

# Parameters: disnix_tcp_proxy in nix/disnix/parameters.nix.
given:

let
  parameter = parameters.proxy ({ package = disnix-proxy-example; } // given);
  inherit (parameter) port package;
  inherit (proxyOf given) instance control;

  underSystemd = processManager == "systemd";
  program = "${package}/bin/disnix-tcp-proxy";

  args =
    options {
      connect-timeout = parameter.connectTimeout;
      drain-timeout = parameter.drainTimeout;
      idle-timeout = parameter.idleTimeout;
      keepalive = parameter.keepalive;
      connections-max = parameter.connectionsMax;
      connections-max-per-source = parameter.connectionsMaxPerSource;
      stall-timeout = parameter.stallTimeout;
    }
    ++ (
      if underSystemd then
        # The rest comes from the units.
        options { exit-idle-time = parameter.exitIdleTime; }
      else
        options {
          listen = port;
          bind-timeout = parameter.bindTimeout;
          inherit control;
          state-directory = "${stateDir}/lib/disnix-tcp-proxy/${instance}";
        }
        # From the previous version, if there is one.
        ++ [ "--take-over" ]
    );

  wrapper =
    if underSystemd then
      systemdWrapper { inherit (parameter) package lease instanceName port; inherit control; }
    else if processManager == "disnix" then
      processWrapper { inherit (parameter) package lease; inherit control; }
    else
      plainWrapper;
in
# Without a process manager nix-processmgmt writes a description only, and no files beside it.
assert lib.assertMsg (processManager != null)
  "disnix_tcp_proxy: say which process manager it is for, for example processManager = \"systemd\"";

createManagedProcess (
  {
    name = "disnix-tcp-proxy-${instance}";
    description = "TCP proxy with a gate, port ${toString port}";
    foregroundProcess = program;
    inherit args;

    overrides.sysvinit.runlevels = [ 3 4 5 ];

    postInstall =
      ''
        install -D -m 755 ${wrapper} $out/bin/wrapper
        ${currentModules [ "wrapper" ]}
      ''
      + lib.optionalString underSystemd (
        shippedUnits { inherit package; }
        + ''
          control=('disnix-tcp-proxy-control@%i\.socket' "s//$unit-control.socket/")
          proxy=('disnix-tcp-proxy@%i\.' "s//$unit./")
          instance=(%i 's//${instance}/g')
          drop_in disnix-tcp-proxy@.service "''${control[@]}" "''${proxy[@]}" "''${instance[@]}"
          socket disnix-tcp-proxy@.socket "$unit.socket" "''${control[@]}" "''${instance[@]}" \
              '^\[Unit]' "a Wants=$unit-control.socket" \
              '^\[Socket]' 'a ListenStream=${toString port}'
          socket disnix-tcp-proxy-control@.socket "$unit-control.socket" "''${proxy[@]}" "''${instance[@]}" \
              '^SocketGroup=' 's/=.*/=${parameter.operators}/'
        ''
      );
  }
  // lib.optionalAttrs (!underSystemd) {
    initialize = ''
      mkdir -p ${dirOf control} ${stateDir}/lib/disnix-tcp-proxy/${instance}
    '';
  }
  // lib.optionalAttrs (processManager == "disnix") {
    pidFile = pidFileOf "disnix-tcp-proxy-${instance}" ([ program ] ++ args);
  }
)
