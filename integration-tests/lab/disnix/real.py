"""Deploys models to hosts with the real disnix-env, if it is on the PATH."""

import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from lab.disnix.deployer import Deployer, Deployment
from lab.errors import Unmet

# Disnix's interface to a machine: the coordinator runs it with an operation and its arguments. All hosts share
# the store, so nothing is copied; Disnix and Dysnomia on the host do the rest. It is a unit, so that it
# continues when the coordinator dies, like a job of Disnix's service.
INTERFACE = """#!/bin/bash
set -euo pipefail

arguments=("$@")
profile=default
while [ $# -gt 0 ]
do
    case "$1" in
        --target) target=$2; shift ;;
        --profile) profile=$2; shift ;;
        --print-invalid) exit 0 ;;
        --set) set_profile=1 ;;
        -*) ;;
        *) path=$1 ;;
    esac
    shift
done

case "$target" in
    @leaders@
    *) echo "$target is not plugged in" >&2; exit 1 ;;
esac

inside() {
    nsenter --target="$leader" --all -- \\
        systemd-run --quiet --wait --collect --pipe --property=KillMode=process \\
        --setenv=PATH=@path@:/usr/sbin:/usr/bin:/sbin:/bin -- "$@" < /dev/null
}

if [ -n "${set_profile:-}" ]
then
    profiles=/nix/var/nix/profiles/disnix
    inside /bin/sh -c "mkdir -p $profiles && ln -sfn $path $profiles/$profile"
else
    inside @path@/disnix-run-activity "${arguments[@]}"
fi
"""


def is_there():
    """Whether this machine has Disnix."""
    return shutil.which("disnix-env") is not None


def prefix():
    """The common prefix of Disnix and Dysnomia."""
    directory = Path(shutil.which("disnix-env")).parent
    if not (directory / "dysnomia").exists():
        raise Unmet(f"disnix-env is in {directory}, and dysnomia is not")
    return directory.parent


class RealDisnix(Deployer):
    """disnix-env, with the real Dysnomia on the hosts."""

    def __init__(self, hosts, directory):
        super().__init__(hosts, directory)
        self._interface = self.directory / "interface"
        leaders = "\n    ".join(f"{shlex.quote(name)}) leader={host.machine.leader} ;;"
                                for name, host in hosts.items())
        self._interface.write_text(
            INTERFACE.replace("@leaders@", leaders).replace("@path@", str(prefix() / "bin")))
        self._interface.chmod(0o755)

    def start(self, models):
        """As a user would."""
        what = (["--undeploy"] if models.services is None else
                ["--services", str(models.services), "--distribution", str(models.distribution)])
        return Deployment(
            ["disnix-env", *what, "--infrastructure", str(models.infrastructure),
             "--interface", str(self._interface),
             "--coordinator-profile-path", str(self.directory / "profiles"),
             "--extra-params", models.parameters],
            self.log, self.nix.environment())

    def colleague(self, directory):
        other = RealDisnix(self.hosts, directory)
        shutil.copytree(self.directory / "profiles", other.directory / "profiles", symlinks=True)
        return other

    def components(self, target, type):
        manifest = self.hosts[target].run(
            ["cat", "/nix/var/nix/profiles/disnix/default/profilemanifest.xml"])
        services = ElementTree.fromstring(manifest).iterfind("services/service")
        return [service.findtext("pkg") for service in services if service.findtext("type") == type]

    def unlock(self):
        for name in self.hosts:
            done = self._interface_call("--target", name, "--unlock")
            if not done:
                raise AssertionError(f"cannot unlock {name}:\n{self.log.read_text()}")

    def _interface_call(self, *arguments):
        return Deployment([str(self._interface), *arguments], self.log).wait()
