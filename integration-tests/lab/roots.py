"""Root file systems: one Debian for each systemd version, made once and kept in a cache."""

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from lab.errors import Unmet

# The Debian release of each systemd.
SUITES = {"252": "bookworm", "257": "trixie", "262": "unstable"}

# redis-server is the service without socket activation. Dysnomia's module `process` uses daemon. haproxy and nginx
# are compared with the proxy. python3 is for the service in services/, wrk a client that keeps its connections; other
# clients, and upstreams that a test serves by hand, run in the test's own process.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "libnss-systemd", "iproute2", "netcat-openbsd",
            "redis-server", "redis-tools", "daemon", "haproxy", "nginx", "libnginx-mod-stream", "python3", "wrk")

# For single tests, in a root of their own: Debian's Rust compiles the programs (tests/oldest_rust.py), and real programs
# serve clients that are handed over (tests/inetd.py).
FURTHER_PACKAGES = ("cargo", "git", "openssh-server", "rsync")

# Enabled by their packages; here a test starts what it needs.
DISABLED = ("redis", "haproxy", "keepalived", "nginx", "apache2", "ssh", "rsync")

# For tests/load_balancer.py; a newer Nix than this machine's, for tests/nix_today.py; what reads the metrics of services,
# for tests/metrics.py.
PACKAGES_OF_ONE = {"252": ("keepalived", "curl"), "257": ("nix-bin",), "262": ("systemd-report",)}

# Not needed by any test, so that a host boots in well under a second.
MASKED = ("systemd-logind.service", "console-getty.service", "getty.target",
          "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "apt-daily.timer",
          "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
          "systemd-hostnamed.socket", "dev-hugepages.mount")

# The tests need single lines among those of thousands of connections.
JOURNAL = "[Journal]\nStorage=volatile\nRuntimeMaxUse=512M\nRateLimitIntervalSec=0\n"


def cache_directory():
    """The directory of the roots between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "disnix-proxy-example" / "roots"


def root(version, more=()):
    """The directory with the root of a systemd version, and `more` packages; made if it is not in the cache."""
    packages = _packages(version) + more
    recipe = repr((SUITES[version], packages, MASKED, JOURNAL))
    name = f"{version}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    finished = cache_directory() / name
    cache_directory().mkdir(parents=True, exist_ok=True)
    # Of two runs at the same time the second waits for the first one's root.
    with open(cache_directory() / f"{version}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            unfinished = cache_directory() / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _make(version, packages, unfinished)
            unfinished.rename(finished)
    return finished


def _packages(version):
    return PACKAGES + PACKAGES_OF_ONE[version]


def _make(version, packages, directory):
    suite, mirror = SUITES[version], debian_mirror()
    print(f"making a root with systemd {version} (Debian {suite})", flush=True)
    done = subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}",
         *_apt_options(suite), suite, str(directory), mirror],
        capture_output=True, text=True,
    )
    if done.returncode != 0:
        raise Unmet(f"mmdebstrap could not make Debian {suite} from {mirror}:\n{done.stderr.strip()}")
    for unit in MASKED:
        (directory / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for service in DISABLED:
        for enabled in directory.glob(f"etc/systemd/system/*.wants/{service}*"):
            enabled.unlink()
    for alias in directory.glob("etc/systemd/system/redis.service"):
        alias.unlink()
    drop_in = directory / "etc/systemd/journald.conf.d/lab.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(JOURNAL)
    # The boot sets the name of the machine.
    (directory / "etc/hostname").unlink(missing_ok=True)
    # Not empty: on a first boot systemd would enable every unit it finds.
    (directory / "etc/machine-id").write_text("d15a1ab0" * 4 + "\n")
    found = subprocess.run(["chroot", directory, "systemctl", "--version"],
                           capture_output=True, text=True, check=True).stdout
    if not re.match(rf"systemd {version}\b", found):
        raise Unmet(f"Debian {suite} at {mirror} has {found.split(chr(10))[0]}, not {version}")
    # Up to date: the boot need not rebuild the library cache and the catalog.
    usr = (directory / "usr").stat()
    for stamp in ("etc/.updated", "var/.updated"):
        (directory / stamp).touch()
        os.utime(directory / stamp, ns=(usr.st_mtime_ns, usr.st_mtime_ns))


def _apt_options(suite):
    """The options of this machine's apt for old indices (of a snapshot mirror, or without a clock). The index of
    unstable expires soon on a mirror that is not updated every day."""
    options = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    wanted = re.findall(r'^(Acquire::(?:Check-Valid-Until|Check-Date|https?::Proxy) "[^"]*";)$',
                        options, re.MULTILINE)
    if suite == "unstable":
        wanted.append('Acquire::Check-Valid-Until "false";')
    return [f"--aptopt={option}" for option in wanted]


def debian_mirror():
    """The mirror in this machine's apt sources."""
    sources = list(_one_line_sources()) + list(_stanza_sources())
    own = _own_codename()
    for uri, suites, components in sources:
        if own in suites and "main" in components and re.match(r"https?|file|copy", uri):
            return uri
    raise Unmet("found no Debian mirror (component main) in /etc/apt/sources.list*")


def _own_codename():
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return shlex.split(value)[0]
    raise Unmet("/etc/os-release names no VERSION_CODENAME: is this a Debian?")


def _one_line_sources():
    for path in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.list")]:
        if path.exists():
            for line in path.read_text().splitlines():
                found = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line)
                if found:
                    yield found[1], [found[2]], found[3].split("#")[0].split()


def _stanza_sources():
    for path in Path("/etc/apt/sources.list.d").glob("*.sources"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
            fields = dict(re.findall(r"^(\w[\w-]*):\s*(.*)$", stanza, re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
                for uri in fields.get("URIs", "").split():
                    yield uri, fields.get("Suites", "").split(), fields.get("Components", "").split()
