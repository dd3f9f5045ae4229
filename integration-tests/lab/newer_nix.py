"""The Nix of the newest Debian root, in a container that boots nothing."""

import os
import subprocess

from lab import prerequisites, roots
from lab.nix import Nix

SYSTEMD = "257"


class NewerNix(Nix):
    """As `Nix`, but with an empty store in memory for each command. The project and the given directories are
    mounted there."""

    def __init__(self, *directories):
        super().__init__()
        self._directories = directories

    def _execute(self, command, timeout):
        readable = {prerequisites.PROJECT, self.nixpkgs, self.processmgmt, self.dysnomia,
                    *self._directories} - {None}
        container = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--as-pid2", "--pipe",
            "--volatile=overlay", f"--machine=lab-nix-{os.getpid()}", f"--directory={roots.root(SYSTEMD)}",
            "--tmpfs=/nix", "--tmpfs=/var/cache",
            *(f"--bind-ro={path}" for path in sorted(readable)),
            *(f"--setenv={name}={value}" for name, value in self.environment().items()),
            "--setenv=XDG_CACHE_HOME=/var/cache",
        ]
        return subprocess.run(
            [*container, *command], capture_output=True, text=True, timeout=timeout)
