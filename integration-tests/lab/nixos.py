"""The units of NixOS on one of our hosts: configurations, and switching between them.

`Switch` does the same as nixpkgs, pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs, in the same order,
for the kinds of units and changes in these tests.
"""

import shutil

from lab.nix import STAND_INS

EVALUATE = STAND_INS / "modules" / "evaluate.nix"
UNITS = "/etc/systemd/system"
VERBS = ("stop", "reload", "restart", "start")

# Settings in [Unit] that do not change a running unit.
IGNORED = {"Description", "Documentation"}


class System:
    """A built configuration."""

    def __init__(self, nix, configuration, changed=False):
        arguments = {"configuration": configuration, "changed": changed}
        self.directory, = nix.build(EVALUATE, "directory", arguments)
        self.closure = nix.closure(self.directory)

    def names(self):
        """The files and directories in its /etc/systemd/system."""
        return {path.name for path in self.directory.iterdir()}

    def has(self, unit):
        """Whether a unit has a file of its own."""
        return (self.directory / unit).exists()

    def settings(self, unit):
        """A unit with its drop-ins: all values of each setting, by section and name."""
        found = {}
        drop_ins = sorted((self.directory / f"{unit}.d").glob("*.conf"))
        for path in [self.directory / unit, *drop_ins]:
            if path.exists():
                _read(path.read_text(), found)
        return found


def _read(text, found):
    section = None
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            values = found.setdefault((section, name), [])
            if value:
                values.append(value)
            else:
                values.clear()


class Switch:
    """`nixos-rebuild switch` on a host."""

    def __init__(self, host):
        self._host = host
        self._current = None
        # Paths that every NixOS has.
        host.run(["mkdir", "-p", "/run/current-system/sw"])
        host.run(["ln", "-s", "/usr/bin", "/run/current-system/sw/bin"])
        host.run(["ln", "-s", "/usr", "/run/current-system/systemd"])

    def to(self, system):
        """Switches, and returns its actions as { "restart": { units }, … }."""
        done = self._plan(system) if self._current else {verb: set() for verb in VERBS}
        self._each("stop", done)
        self.activate(system)
        self._each("reload", done)
        self._each("restart", done)
        self._each("start", done)
        self._host.systemctl("start", "sockets.target", "multi-user.target")
        return done

    def _plan(self, system):
        done = {verb: set() for verb in VERBS}
        for unit in filter(self._current.has, self._current.names()):
            if not unit.endswith((".service", ".socket")) or self._host.state(unit) != "active":
                continue
            for verb in self._verbs(unit, system):
                done[verb].add(unit)
        return done

    def _verbs(self, unit, system):
        """The action for a running unit."""
        old, new = self._current.settings(unit), system.settings(unit)
        if not system.has(unit):
            return [] if old.get(("Unit", "X-StopOnRemoval")) == ["false"] else ["stop"]
        changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        changed = {(section, name) for section, name in changed
                   if section != "Install" and (section, name) not in {("Unit", i) for i in IGNORED}}
        if not changed or unit.endswith(".socket"):
            return []
        if changed == {("Unit", "X-Reload-Triggers")}:
            return ["reload"]
        if new.get(("Service", "X-RestartIfChanged")) == ["false"]:
            return []
        if new.get(("Service", "X-StopIfChanged")) == ["false"]:
            return ["restart"]
        if ("Service", "Sockets") in new or system.has(unit.replace(".service", ".socket")):
            raise AssertionError(f"NixOS would stop the sockets of {unit}: {sorted(changed)}")
        return ["stop", "start"]

    def activate(self, system):
        """Installs the units where NixOS has them, and reloads systemd."""
        machine = self._host.machine
        for path in system.closure:
            if not machine.path(path).exists():
                machine.path("/nix/store").mkdir(parents=True, exist_ok=True)
                self._copy(path, machine.path(path))
        units = machine.path(UNITS)
        for name in self._current.names() if self._current else ():
            self._remove(units / name)
        for path in system.directory.iterdir():
            self._remove(units / path.name)
            self._copy(path, units / path.name)
        self._host.systemctl("daemon-reload")
        self._current = system

    @staticmethod
    def _copy(source, target):
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copyfile(source, target, follow_symlinks=False)

    @staticmethod
    def _remove(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _each(self, verb, done):
        # All at once. NixOS continues when a unit fails, and reports that in the end.
        jobs = [self._host.start(["systemctl", verb, unit]) for unit in sorted(done[verb])]
        for job in jobs:
            job.wait(timeout=60)
