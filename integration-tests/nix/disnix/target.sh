#!/bin/bash
# disnix-target lock PROFILE
# disnix-target unlock PROFILE
# disnix-target set PROFILE PATH
# disnix-target activate|deactivate TYPE CONTAINER COMPONENT [NAME=VALUE...]
#
# Locks and unlocks as Disnix's service does: every service of the profile that is set now is told, one
# after the other, without the properties of its container; the profile's own lock is a file.
set -euo pipefail

modules=@dysnomia@/libexec/dysnomia
profiles=/nix/var/nix/profiles/disnix

operation=$1
shift

# tell OPERATION PROFILE: succeeds if every service has.
tell() {
    local status=0 type container component
    if [ -e "$profiles/$2/services" ]
    then
        while read -r type container component <&3
        do
            "$modules/$type" "$1" "$component" "$container" || status=1
        done 3< "$profiles/$2/services"
    fi
    return "$status"
}

lock_file() { echo "/tmp/disnix-$1.lock"; }

case "$operation" in
    lock)
        if ! tell lock "$1"
        then
            tell unlock "$1" || true
            exit 1
        fi
        # If it is there the services stay locked.
        set -o noclobber
        : > "$(lock_file "$1")"
        ;;
    unlock)
        status=0
        tell unlock "$1" || status=1
        rm "$(lock_file "$1")" || status=1
        exit "$status"
        ;;
    set)
        mkdir -p "$profiles"
        ln -sfn "$2" "$profiles/$1"
        ;;
    activate | deactivate)
        type=$1 container=$2 component=$3
        shift 3
        exec env "$@" "$modules/$type" "$operation" "$component" "$container"
        ;;
esac
