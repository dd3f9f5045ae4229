#! @shell@
# Called by Dysnomia: wrapper OPERATION CONTAINER. The proxy as a socket-activated systemd unit.
#
# An upgrade of the proxy itself must not close its listening socket, because clients wait there. So while
# the gate is locked, `deactivate` stops the service only. The sockets stay open, and a timer removes all
# units unless the next version is activated first. `activate` adopts open sockets.
set -euo pipefail

component=${0%/bin/wrapper}
units=$component/etc/systemd/system
unit=$(basename "$units"/*.service .service)
sockets=("$units"/*.socket)
sockets=("${sockets[@]##*/}")
installed=${systemdTargetDir:-/etc/systemd-mutable/system}
wanted=$installed/${systemdRootTarget:-dysnomia.target.wants}

systemctl() { @systemd@/bin/systemctl "$@"; }

proxyctl() { @proxyctl@ "$@"; }

module() { @module@ "$1" "$component" systemd-unit; }

is_locked() { [[ $(proxyctl --control @control@ --json status --wake) = *'"gate":"locked"'* ]]; }

# In one transaction: between two, a client of a socket that is left could start the service, which opens
# the other sockets again.
remove() {
    systemctl stop "${sockets[@]}" "$unit.service"
    module deactivate
}

cancel_retirement() { systemctl stop "$unit-retire.timer" "$unit-retire.service" 2>/dev/null || true; }

stop_service_only() {
    cancel_retirement
    # The timer's service has only the environment that is passed here.
    local name environment=("--setenv=PATH=$PATH")
    for name in systemdTargetDir systemdRootTarget DYSNOMIA_STATEDIR
    do
        [ -z "${!name:-}" ] || environment+=("--setenv=$name=${!name}")
    done
    @systemd@/bin/systemd-run --quiet --collect --unit="$unit-retire" \
        --description="Retires $unit, which was deactivated and not activated again" \
        --on-active="@lease@" --timer-property=AccuracySec=1s "${environment[@]}" \
        -- "$component/bin/wrapper" retire systemd-unit
    systemctl stop "$unit.service"
}

# Where load balancers ask, of a unit by its path without suffix; nothing if they do not.
health_of() { grep -s '^ListenStream=' "$1-health.socket" || true; }

# Without the module, which closes the socket when something fails.
adopt() {
    local file health
    mkdir -p "$wanted"
    health=$(health_of "$installed/$unit")
    rm -f "$installed/$unit-health.socket"
    for file in "$units"/*
    do
        ln -sfn "$file" "$installed/"
    done
    ln -sfn "$units/$unit.socket" "$wanted/"
    systemctl daemon-reload
    # systemd does not open an open socket again at another address.
    if [ "$health" != "$(health_of "$units/$unit")" ]
    then
        systemctl stop "$unit-health.socket" 2>/dev/null || true
    fi
    # The socket is unchanged; the service is new, and ready before its dependents are activated. Between two
    # processes its restart also opens sockets that are not open; while one runs, none can be opened. The start
    # of the sockets fails if one is still not open.
    { systemctl restart "$unit.service" && systemctl start "${sockets[@]}"; } || {
        systemctl stop "$unit.service"
        stop_service_only
        return 1
    }
}

# Dysnomia's default directory is right on NixOS only.
check_directory() {
    local known
    known=$(systemctl show --property=UnitPath --value)
    if [[ " $known " != *" ${installed%/} "* ]]
    then
        echo "disnix_tcp_proxy: systemd does not look for units in $installed. Set systemdTargetDir in the infrastructure model, for the containers systemd-unit and wrapper; /etc/systemd/system is right on most systems." >&2
        return 1
    fi
}

# The control sockets of proxies with the same name and another port: if the port changes, the clients that
# wait at the old proxy are connected to the new one.
predecessors() {
    local directory
    for directory in "$(dirname "$(dirname @control@)")"/@instanceName@-*
    do
        if [[ ${directory##*/} =~ ^@instanceName@-[0-9]+$ && $directory/control != @control@ && -S $directory/control ]]
        then
            echo "$directory/control"
        fi
    done
}

# If the port changes, and the address for load balancers does not, the proxy on the old port gives that up. A mask
# does it: that proxy would open the socket again, whenever a client starts it.
take_health() {
    local control other health
    health=$(health_of "$units/$unit")
    for control in $(predecessors)
    do
        other=${unit%@instanceName@-@port@}$(basename "$(dirname "$control")")
        if [ -n "$health" ] && [ "$(health_of "$installed/$other")" = "$health" ]
        then
            ln -sfn /dev/null "$installed/$other-health.socket"
            systemctl daemon-reload
            systemctl stop "$other-health.socket"
            # Its process has the socket, too.
            systemctl try-restart "$other.service"
        fi
    done
}

activate() {
    check_directory || return
    cancel_retirement
    take_health
    if systemctl is-active --quiet "$unit.socket"
    then
        adopt
    else
        module activate
        systemctl start "${sockets[@]}" "$unit.service" || {
            remove
            return 1
        }
    fi
}

case "$1" in
    activate)
        activate
        for control in $(predecessors)
        do
            # At a proxy that is gone no client waits.
            proxyctl --control "$control" set-target 127.0.0.1:@port@ || true
        done
        ;;
    deactivate)
        if is_locked
        then
            stop_service_only
        else
            remove
        fi
        ;;
    retire)
        # Clients that still wait are connected to the last target.
        proxyctl --control @control@ unlock || true
        remove
        ;;
    unlock)
        for control in $(predecessors)
        do
            proxyctl --control "$control" unlock
        done
        ;;
    lock)
        # hello_world_route does this.
        ;;
    *)
        echo "disnix_tcp_proxy: there is no operation $1" >&2
        exit 1
        ;;
esac
