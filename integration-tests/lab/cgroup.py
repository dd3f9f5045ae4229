"""Each host gets control groups of its own: two systemds in the same one would end each other's
services. If this machine runs systemd itself, systemd makes a scope; otherwise the groups are made by
hand, in the hierarchies that systemd reads."""

import contextlib
import os
from pathlib import Path


def wrapper(name):
    """The prefix of a command line for a group that the command may divide."""
    if not Path("/run/systemd/system").is_dir():
        return []
    return ["systemd-run", "--quiet", "--scope", "--collect", f"--unit={name}", "-p", "Delegate=yes"]


class Group:
    """A group made by hand; does nothing if `wrapper` is used."""

    def __init__(self, name):
        self._directories = [] if wrapper(name) else [path / name for path in _own_groups()]

    def enter(self):
        """Moves the calling process into it (between fork and exec)."""
        for directory in self._directories:
            directory.mkdir(exist_ok=True)
            (directory / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self):
        """The processes in it, by their numbers on this machine."""
        found = set()
        for directory in self._directories:
            for members in directory.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(int(line) for line in members.read_text().split())
        return found - {0}

    def remove(self):
        """Succeeds when it is empty."""
        for directory in self._directories:
            for below in sorted(directory.rglob("*/"), reverse=True):
                _remove(below)
            _remove(directory)
        return not any(directory.exists() for directory in self._directories)


def sweep():
    """Removes the groups of a killed run, except those with processes."""
    for path in _own_groups():
        for left in path.glob("lab-*"):
            for below in sorted(left.rglob("*/"), reverse=True):
                _remove(below)
            _remove(left)


def _remove(directory):
    with contextlib.suppress(OSError):
        directory.rmdir()


def _own_groups():
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup2":
            mounts[""] = fields.split()[4]
        elif kind == "cgroup" and "name=systemd" in options.split()[-1].split(","):
            mounts["name=systemd"] = fields.split()[4]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in mounts:
            yield Path(mounts[controllers] + path)
