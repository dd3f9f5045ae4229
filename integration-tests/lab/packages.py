"""The Debian packages of the project, and other versions of them."""

import os
import re
import shutil
import signal
import subprocess

from lab import namespaces, prerequisites, roots
from lab.disturbances import Disturbance
from lab.errors import Unmet

PROXY, EXAMPLE = "disnix-tcp-proxy", "disnix-tcp-proxy-example"


def begin():
    """Begins to install cargo-deb if it is missing; `build` waits for the end of that. It may take a minute, in which
    the roots are made."""
    if shutil.which("cargo-deb", path=_path()):
        return None
    print("installing cargo-deb", flush=True)
    # It packs four programs only: it need not be fast. Without its default features it needs no library for xz, but the
    # program.
    install = [prerequisites.cargo(), "install", "--quiet", "--locked", "--debug", "--no-default-features",
               f"--root={_tools()}", "cargo-deb"]
    return subprocess.Popen(install, env=dict(os.environ, CARGO_PROFILE_DEV_DEBUG="false"),
                            preexec_fn=lambda: namespaces.die_with_parent(signal.SIGKILL))


def build(installation):
    """Builds them as a release is built, but without the name of a commit, so that what has been compiled is used.
    Returns their files by their names."""
    if installation and installation.wait() != 0:
        raise Unmet("`cargo install cargo-deb` failed")
    environment = dict(os.environ, PATH=_path(), DISNIX_BUILD_COMMIT="")
    done = subprocess.run([prerequisites.PROJECT / "packaging/deb/build"], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unmet(f"packaging/deb/build failed:\n{done.stderr.strip()}")
    files = [line.strip() for line in done.stdout.splitlines() if line.strip().endswith(".deb")]
    return {field(file, "Package"): file for file in files}


def _tools():
    return roots.cache_directory().parent / "tools"


def _path():
    return f"{os.environ['PATH']}:{prerequisites.cargo().parent}:{_tools()}/bin"


def field(package, name):
    """A field of the control file of a package."""
    return subprocess.run(["dpkg-deb", "--field", package, name], check=True, capture_output=True, text=True).stdout.strip()


def contents(package):
    """The paths of the files in a package."""
    listed = subprocess.run(["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True).stdout
    paths = [line.split()[5].removeprefix("./") for line in listed.splitlines()]
    return sorted(path for path in paths if not path.endswith("/"))


def another_version(package, version, directory, change):
    """The same package as another version, after `change` of its files."""
    tree, file = directory / version, directory / f"{version}.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub("(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    change(tree)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, file], check=True, capture_output=True)
    return file


def install(host, *packages):
    """Installs packages as an administrator does; an older version too."""
    apt(host, "install", "--allow-downgrades", *[_copied(host, package) for package in packages])


def apt(host, *arguments):
    """apt-get, which asks nothing."""
    host.run(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", *arguments])


def _copied(host, package):
    path = f"/tmp/{os.path.basename(package)}"
    shutil.copyfile(package, host.machine.path(path))
    return path


class UpgradeOfPackage(Disturbance):
    """Installs one version after the other."""

    name = "upgrade of the package"
    every = 1

    def __init__(self, host, service, packages, every=None):
        super().__init__(host, service, every)
        self._packages = packages

    def turn(self):
        pid = self.service.main()
        install(self.host, self._packages[(self.turns - 1) % len(self._packages)])
        self.starts += self.service.wait_for_main() != pid
