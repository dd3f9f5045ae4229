"""The programs are built by the Rust of Debian 13, from its own packages."""

import os
import subprocess
import unittest

from lab import prerequisites, roots
from lab.case import NO_SYSTEMD, heavy

SYSTEMD_OF_DEBIAN_13 = "257"


class DebiansOwnRust(unittest.TestCase):
    """In a container that boots nothing and has no network."""

    versions = (NO_SYSTEMD,)

    @heavy
    def test_the_programs_compile(self):
        crates = roots.cache_directory().parent / "crates"
        target = roots.cache_directory().parent / "target-of-debian-13"
        target.mkdir(exist_ok=True)
        vendor = [prerequisites.cargo(), "vendor", "--quiet", "--locked", "--versioned-dirs", crates]
        subprocess.run(vendor, cwd=prerequisites.PROJECT, check=True, stdout=subprocess.DEVNULL)
        container = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--as-pid2", "--pipe", "--private-network",
            "--volatile=overlay", f"--machine=lab-rust-{os.getpid()}",
            f"--directory={roots.root(SYSTEMD_OF_DEBIAN_13, roots.FURTHER_PACKAGES)}",
            f"--bind-ro={prerequisites.PROJECT}", f"--bind-ro={crates}", f"--bind={target}",
            "--setenv=CARGO_HOME=/var/cache/cargo", f"--setenv=CARGO_TARGET_DIR={target}",
            f"--chdir={prerequisites.PROJECT}",
        ]
        check = ["cargo", "check", "--quiet", "--locked", "--offline", "--bins",
                 "--config=source.crates-io.replace-with='vendored'",
                 f"--config=source.vendored.directory='{crates}'"]
        done = subprocess.run([*container, *check], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
