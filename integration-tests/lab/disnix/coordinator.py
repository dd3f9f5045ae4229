"""The coordinator: locks every machine, makes the transition, sets the profiles, unlocks.

It is a program of its own, so that a test can kill it:
coordinator.py --target-program PATH --profile PATH --machine HOSTNAME=PID... MANIFEST
"""

import argparse
import concurrent.futures
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from lab.disnix.manifest import Manifest  # noqa: E402
from lab.disnix.transition import Transition  # noqa: E402

PROFILE = "default"


def deploy(manifest, previous, machines):
    """`machines.run(target, *words)` runs the program on a machine and returns whether it succeeded. Returns
    whether the manifest is deployed."""
    locked = _everywhere(machines, manifest.profiles, "lock", PROFILE)
    if len(locked) < len(manifest.profiles):
        # A machine that could not be locked has unlocked its services itself.
        _everywhere(machines, locked, "unlock", PROFILE)
        return False

    def perform(operation, mapping, service):
        return machines.run(mapping.target, operation, service.type, mapping.container,
                            service.package, *manifest.properties(mapping))

    reached = Transition(manifest, previous, perform).run()
    if reached:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            set_profiles = [pool.submit(machines.run, target, "set", PROFILE, path)
                            for target, path in manifest.profiles.items()]
        reached = all(future.result() for future in set_profiles)
    unlocked = _everywhere(machines, manifest.profiles, "unlock", PROFILE)
    return reached and len(unlocked) == len(manifest.profiles)


def _everywhere(machines, targets, *words):
    """Runs it on all machines at the same time, and returns those on which it succeeded."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = {target: pool.submit(machines.run, target, *words) for target in targets}
    return [target for target, future in done.items() if future.result()]


class Machines:
    """The booted machines. An operation is a unit there, so that it continues when the coordinator dies, like a
    job of Disnix's service."""

    def __init__(self, program, leaders, manifest):
        self._program = program
        self._leaders = {target: leaders.get(machine["hostname"])
                         for target, machine in manifest.targets.items()}
        self._started = time.monotonic()

    def run(self, target, *words):
        """Prints its steps, like disnix-env."""
        self._say(target, *words)
        if self._leaders[target] is None:
            return False
        done = subprocess.run(
            ["nsenter", f"--target={self._leaders[target]}", "--all", "--",
             "systemd-run", "--quiet", "--wait", "--collect", "--property=KillMode=process",
             "--property=SyslogIdentifier=disnix", "--", self._program, *words],
            stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            self._say(target, "failed:", *words)
        return done.returncode == 0

    def _say(self, target, *words):
        print(f"{time.monotonic() - self._started:6.2f} s [{target}]", *words, flush=True)


def main():
    """The exit status is 0 if the manifest is deployed; then the profile refers to it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target-program", required=True)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--machine", action="append", default=[], metavar="HOSTNAME=PID")
    parser.add_argument("manifest", type=Path)
    arguments = parser.parse_args()
    manifest = Manifest.read(arguments.manifest)
    previous = Manifest.read(arguments.profile) if arguments.profile.exists() else None
    leaders = dict(machine.split("=") for machine in arguments.machine)
    if not deploy(manifest, previous, Machines(arguments.target_program, leaders, manifest)):
        print("the deployment has failed", flush=True)
        return 1
    arguments.profile.unlink(missing_ok=True)
    arguments.profile.symlink_to(arguments.manifest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
