{ lib
, createManagedProcess
, systemdWrapper
, processWrapper
, plainWrapper
, proxyOf
, shippedUnits
, pidFileOf
, currentModules
, processManager
}:

# Parameters: disnix_tcp_proxy in nix/disnix/parameters.nix.
given:

let
  inherit (proxyOf given) parameter instance control stateDirectory program arguments;
  inherit (parameter) port package health;
  underSystemd = processManager == "systemd";

  wrapper =
    if underSystemd then
      systemdWrapper { inherit (parameter) package lease instanceName port; inherit control; }
    else if processManager == "disnix" then
      processWrapper { inherit (parameter) package lease; inherit control; }
    else
      plainWrapper;
in
# Without a process manager nix-processmgmt writes only a description, and no other files.
assert lib.assertMsg (processManager != null)
  "disnix_tcp_proxy: say which process manager it is for, for example processManager = \"systemd\"";

createManagedProcess (
  {
    name = "disnix-tcp-proxy-${instance}";
    description = "TCP proxy with a gate, port ${toString port}";
    foregroundProcess = program;
    args = arguments;

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
        + lib.optionalString (health != null) ''
          edit "$units/$unit.service.d/50-disnix-tcp-proxy@.service.conf" \
              "^Sockets=$unit-control" "a Sockets=$unit-health.socket"
          edit "$units/$unit.socket" '^\[Unit]' "a Wants=$unit-health.socket"
          cat > "$units/$unit-health.socket" <<EOF
          [Unit]
          Description=Load balancers that ask whether clients of disnix-tcp-proxy ${instance} pass
          Documentation=man:disnix-tcp-proxy(8)
          # Otherwise it would start a proxy that was stopped.
          PartOf=$unit.socket
          # The reason is in the unit of the control socket.
          Before=$unit-control.socket
          # Any number of restarts is allowed.
          StartLimitIntervalSec=0

          [Socket]
          ListenStream=${toString health}
          # Allows addresses that the machine does not have yet.
          FreeBind=yes
          BindIPv6Only=both
          FileDescriptorName=health
          Service=$unit.service
          TriggerLimitIntervalSec=0
          EOF
        ''
      );
  }
  // lib.optionalAttrs (!underSystemd) {
    initialize = ''
      mkdir -p ${dirOf control} ${stateDirectory}
    '';
  }
  // lib.optionalAttrs (processManager == "disnix") {
    pidFile = pidFileOf "disnix-tcp-proxy-${instance}" ([ program ] ++ arguments);
  }
)
