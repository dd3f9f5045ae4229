"""The prerequisites of this machine: installed from Debian if possible, otherwise reported."""

import os
import shutil
import subprocess
from pathlib import Path

from lab.errors import Unmet

PROGRAMS = ("hello-world-server", "hello-world-client", "disnix-tcp-proxy", "disnix-tcp-proxyctl",
            "disnix-tcp-proxy-inetd")
PROJECT = Path(__file__).resolve().parents[2]

# The programs that the laboratory uses, and their Debian packages.
PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "nft": "nftables",
    "/usr/bin/nix-instantiate": "nix-bin",
    "dpkg-shlibdeps": "dpkg-dev",
    "xz": "xz-utils",
}
# For tests of the Debian packages.
PACKAGES_OF_DEBS = {"lintian": "lintian"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ensure(needs_debs=False):
    """Installs what is missing, or fails with the reason. Tests of the Debian packages need more."""
    if os.geteuid() != 0:
        raise Unmet("booting a systemd in a container needs root; run this with sudo")
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    packages = PACKAGES | (PACKAGES_OF_DEBS if needs_debs else {})
    missing = _missing(packages)
    if missing:
        _install(sorted(set(missing.values())))
        missing = _missing(packages)
    if missing:
        raise Unmet(f"still missing after installation: {', '.join(sorted(missing))}")


def _missing(packages):
    def there(thing):
        return os.path.exists(thing) if thing.startswith("/") else shutil.which(thing)

    return {thing: package for thing, package in packages.items() if not there(thing)}


def _install(packages):
    wanted = " ".join(packages)
    if not shutil.which("apt-get"):
        raise Unmet(f"this machine has no apt-get; install the counterparts of: {wanted}")
    print(f"installing {wanted}", flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    for attempt in (install, ["apt-get", "update"], install):
        done = subprocess.run(attempt, env=environment, capture_output=True, text=True)
        if done.returncode == 0 and attempt is install:
            return
    raise Unmet(f"apt-get could not install {wanted}:\n{done.stderr.strip()}")


def build():
    """Builds the release programs and returns their directory."""
    directory = target_directory() / "release"
    if _cargo() is None and all((directory / program).exists() for program in PROGRAMS):
        return directory
    done = subprocess.run([cargo(), "build", "--release", "--quiet", "--bins", "--examples"], cwd=PROJECT)
    if done.returncode != 0:
        raise Unmet("`cargo build --release` failed")
    absent = [program for program in PROGRAMS if not (directory / program).exists()]
    if absent:
        raise Unmet(f"`cargo build --release` made no {', '.join(absent)} in {directory}")
    return directory


def cargo():
    """The path of cargo."""
    found = _cargo()
    if found is None:
        raise Unmet("cargo is missing (https://rustup.rs)")
    return Path(found)


def _cargo():
    return shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo/bin"))


def target_directory():
    """Cargo's target directory."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or PROJECT / "target").absolute()
