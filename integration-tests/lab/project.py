"""Installs the project on a host, with the steps of doc/installation.md, "By hand"."""

import shutil

from lab.errors import Unmet
from lab.prerequisites import PROGRAMS, PROJECT

UNITS = PROJECT / "systemd-units"
OPERATORS = "disnix-tcp-proxy"


def install(host, binaries):
    """Programs, units, the group of the operators and the catalog."""
    for program in PROGRAMS:
        _copy(binaries / program, host, "/usr/bin", 0o755)
    for pattern in ("*.socket", "*.service"):
        for unit in sorted(UNITS.glob(pattern)):
            _copy(unit, host, "/etc/systemd/system")
            if unit.suffix == ".socket" and int(host.version) >= 255:
                for drop_in in sorted((UNITS / "systemd-255").glob("*.conf")):
                    _copy(drop_in, host, f"/etc/systemd/system/{unit.name}.d")
    for pattern, directory, command in (
        ("*sysusers*", "/usr/lib/sysusers.d", ["systemd-sysusers"]),
        ("*tmpfiles*", "/usr/lib/tmpfiles.d", ["systemd-tmpfiles", "--create"]),
        ("*.catalog", "/usr/lib/systemd/catalog", ["journalctl", "--update-catalog"]),
    ):
        found = sorted(UNITS.glob(pattern))
        for path in found:
            name = path.name if path.suffix in (".conf", ".catalog") else f"{path.stem}.conf"
            _copy(path, host, directory, name=name)
        if found:
            host.run(command)
    host.systemctl("daemon-reload")
    _check_that_programs_run(host)


def install_example(host, name):
    """One of the recipes in systemd-units/examples: sockets, drop-ins for units, and options of proxies."""
    directory = UNITS / "examples" / name
    found = [path for kind in ("*.conf", "*.env", "*.socket") for path in directory.rglob(kind)]
    if not found:
        raise AssertionError(f"there is nothing to install in {directory}")
    for path in found:
        if path.suffix == ".conf":
            _copy(path, host, f"/etc/systemd/system/{path.parent.name}")
        elif path.suffix == ".socket":
            _copy(path, host, "/etc/systemd/system")
        else:
            _copy(path, host, "/etc/disnix-tcp-proxy")
    host.systemctl("daemon-reload")


def services():
    """The names of the service units; a template is represented by an instance."""
    return [path.name.replace("@.", "@main.") for path in sorted(UNITS.glob("*.service"))]


def _copy(source, host, directory, mode=0o644, name=None):
    target = host.machine.path(directory) / (name or source.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _check_that_programs_run(host):
    for program in PROGRAMS:
        done = host.result([program, "--version"])
        if done.returncode != 0:
            raise Unmet(f"{program} does not run on systemd {host.version}'s Debian; it must be "
                        f"built against a C library that is no newer: {done.stderr.strip()}")
