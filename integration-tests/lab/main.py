"""The command line of `run` and `measure`."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[0] = str(HERE)

from lab import case, cgroup, namespaces, nix, packages, prerequisites, project, roots, runner  # noqa: E402
from lab.errors import Unmet  # noqa: E402
from lab.host import Host  # noqa: E402
from lab.machine import Machine  # noqa: E402


def main():
    """Prints `N passed, N failed` as its last line; the exit status is 0 if none failed."""
    arguments = _arguments()
    started = time.monotonic()
    try:
        known = (*case.VERSIONS, case.NEWEST)
        versions = known if arguments.systemd == "all" else (arguments.systemd,)
        tasks = runner.collect(HERE / arguments.suite, versions, arguments.k, _timeout(arguments))
        if arguments.list:
            print(*[f"{task.version} {task.test}" for task in tasks], sep="\n")
            return 0
        if not tasks:
            raise Unmet(f"no test has a name with {arguments.k!r} in it")
        needs_debs = any(task.needs_debs for task in tasks)
        prerequisites.ensure(needs_debs)
        binaries = prerequisites.build()
        tools = packages.begin() if needs_debs else None
        versions = sorted({task.version for task in tasks} - {case.NO_SYSTEMD})
        bases = {version: roots.root(version) for version in versions}
        cgroup.sweep()
        live = _private_scratch()
        if any(task.needs_package for task in tasks):
            # Compiled once, outside the time of any test.
            nix.Nix().build(prerequisites.PROJECT / "default.nix", "disnix-proxy-example")
        debs = packages.build(tools) if needs_debs else {}
        layers = {version: _installed(version, bases[version], binaries, live)
                  for version in versions}
    except (Unmet, nix.NixFailed) as unmet:
        print(f"integration-tests: {unmet}", file=sys.stderr)
        print("0 passed, 1 failed")
        return 1
    print(f"{len(tasks)} tests, {arguments.jobs} at a time", flush=True)
    passed, failed = runner.run(tasks, layers, live, debs, arguments.quick, arguments.jobs)
    print(f"in {time.monotonic() - started:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def _arguments():
    parser = argparse.ArgumentParser(
        prog="integration-tests/run", description="Tests the project on real systemds.")
    parser.add_argument("--systemd", choices=(*case.VERSIONS, case.NEWEST, "all"), default="all")
    parser.add_argument("-k", metavar="PATTERN", default="", help="only tests with this in their name")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    parser.add_argument("--list", action="store_true", help="name the tests, run none")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1) + 1, metavar="N",
                        help="how many hosts run at the same time")
    parser.add_argument("--suite", choices=("tests", "measurements"), default="tests",
                        help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.suite == "measurements":
        arguments.jobs = 1
    return arguments


def _timeout(arguments):
    return runner.TEST_TIMEOUT if arguments.suite == "tests" else runner.MEASUREMENT_TIMEOUT


def _private_scratch():
    """A file system in memory, visible to this process alone, which ends with it."""
    namespaces.leave_mount_namespace()
    nix.prepare()
    live = roots.cache_directory().parent / "live"
    live.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", live], check=True)
    return live


def _installed(version, base, binaries, live):
    """The layers of a host with the project: the files that its installation on a running host has written."""
    name = f"lab-{version}-{os.getpid()}-install"
    host = Host(Machine(name, [base], live / name), version)
    try:
        project.install(host, binaries)
    finally:
        host.destroy()
    return [host.machine.upper, base]


if __name__ == "__main__":
    sys.exit(main())
