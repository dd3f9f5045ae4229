#! @shell@
# Called by Dysnomia: wrapper OPERATION CONTAINER. The proxy as a process of Dysnomia's module
# `process`, without systemd.
#
# An upgrade of the proxy itself must not close its listening socket, because clients wait there. So while
# the gate is locked, `deactivate` only makes the process exit at the end of its lease. The next version
# takes its sockets over (--take-over), and then the process exits at once.
set -euo pipefail

component=${0%/bin/wrapper}
# process=, pidFile=
source "$component"/etc/dysnomia/process/*

proxyctl() { @proxyctl@ --control @control@ "$@"; }

module() { @module@ "$1" "$component" process; }

is_locked() { [[ $(proxyctl --json status --wake) = *'"gate":"locked"'* ]]; }

# Whether the proxy that answers is this version: a child of the process in the PID file.
is_ready() {
    local pid
    pid=$(proxyctl --json status --wake 2>/dev/null | sed --quiet 's/.*"pid":\([0-9]*\).*/\1/p') || return
    [ -n "$pid" ] && grep --quiet --line-regexp "PPid:[[:space:]]*$(cat "$pidFile")" "/proc/$pid/status"
}

activate() {
    local tries=0
    module activate
    # The module does not wait until the proxy is ready, and its dependents are activated next.
    until is_ready
    do
        tries=$((tries + 1))
        if [ ! -e "$pidFile" ] || [ "$tries" = 300 ]
        then
            echo "disnix_tcp_proxy: the proxy did not start; its log says why" >&2
            module deactivate
            return 1
        fi
        sleep 0.1
    done
}

case "$1" in
    activate)
        activate
        ;;
    deactivate)
        if is_locked
        then
            proxyctl lock --timeout infinity --lease "@lease@" --at-lease-end exit
        else
            module deactivate
        fi
        ;;
    lock | unlock)
        # hello_world_route does this.
        ;;
    *)
        echo "disnix_tcp_proxy: there is no operation $1" >&2
        exit 1
        ;;
esac
