#! @shell@
# Called by Dysnomia: wrapper OPERATION CONTAINER. The proxy as a socket-activated systemd unit.
#
# An upgrade of the proxy itself must not close its listening socket, because clients wait there. So
# while the gate is locked, `deactivate` only parks it: the service ends, the sockets stay, and a timer
# retires all of it unless the next version has been activated by then. `activate` adopts a parked
# socket.
set -euo pipefail

component=${0%/bin/wrapper}
units=$component/etc/systemd/system
unit=$(basename "$units"/*.service .service)
installed=${systemdTargetDir:-/etc/systemd-mutable/system}
wanted=$installed/${systemdRootTarget:-dysnomia.target.wants}

systemctl() { @systemd@/bin/systemctl "$@"; }

proxyctl() { @proxyctl@ "$@"; }

module() { @module@ "$1" "$component" systemd-unit; }

is_locked() { [[ $(proxyctl --control @control@ --json status) = *'"gate":"locked"'* ]]; }

# One transaction: stopped one after the other, the service of the one is started by a client of the
# other, and brings the first back.
remove() {
    systemctl stop "$unit.socket" "$unit-control.socket" "$unit.service"
    module deactivate
}

cancel_retirement() { systemctl stop "$unit-retire.timer" "$unit-retire.service" 2>/dev/null || true; }

park() {
    cancel_retirement
    # The timer's service has only what is passed to it here.
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

# Not by the module: when something fails it would close the socket.
adopt() {
    local file
    mkdir -p "$wanted"
    for file in "$units"/*
    do
        ln -sfn "$file" "$installed/"
    done
    ln -sfn "$units/$unit.socket" "$wanted/"
    systemctl daemon-reload
    systemctl start "$unit-control.socket"
    # The socket is as it was; the service is new, and it is ready before anything depends on it.
    systemctl restart "$unit.service" || {
        systemctl stop "$unit.service"
        park
        return 1
    }
}

# What Dysnomia does unless it is told otherwise fits NixOS only.
check_directory() {
    local known
    known=$(systemctl show --property=UnitPath --value)
    if [[ " $known " != *" ${installed%/} "* ]]
    then
        echo "disnix_tcp_proxy: systemd does not look for units in $installed. Set systemdTargetDir in the infrastructure model, for the containers systemd-unit and wrapper; /etc/systemd/system is right on most systems." >&2
        return 1
    fi
}

activate() {
    check_directory || return
    cancel_retirement
    if systemctl is-active --quiet "$unit.socket"
    then
        adopt
    else
        module activate
        systemctl start "$unit.service" || {
            remove
            return 1
        }
    fi
}

# The control sockets of proxies with the same name and another port: if the port changes, the old
# proxy is parked, and whoever waits there is led to the new one.
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

case "$1" in
    activate)
        activate
        for control in $(predecessors)
        do
            # If one of them is gone, nobody waits there.
            proxyctl --control "$control" set-target 127.0.0.1:@port@ || true
        done
        ;;
    deactivate)
        if is_locked
        then
            park
        else
            remove
        fi
        ;;
    retire)
        # Whoever still waits is led to where the proxy led last.
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
