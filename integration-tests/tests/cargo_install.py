"""The programs that `cargo install` makes, with the command and the first steps of doc/installation.md."""

import os
import re
import shlex
import signal
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

from lab import clients, prerequisites, wait
from lab.case import NO_SYSTEMD
from lab.namespaces import Network
from lab.prerequisites import PROGRAMS, PROJECT

# Its features of the crates are those of all that is compiled for the tests: so nothing is compiled again.
EXAMPLE = "completions"


def section(heading):
    """The text of a section of doc/installation.md."""
    page = (PROJECT / "doc/installation.md").read_text()
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]


class CargoInstall(unittest.TestCase):
    versions = (NO_SYSTEMD,)

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        # Ports of its own.
        self.network = Network.new()
        self.addCleanup(self.network.close)

    def test_it_makes_every_program_and_a_client_is_answered_through_the_proxy(self):
        self.install()
        installed = {path.name for path in (self.root / "bin").iterdir()}
        self.assertEqual(installed, {*PROGRAMS, EXAMPLE})
        version = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]
        for program in PROGRAMS:
            self.assertEqual(self.network.run(self.root / "bin" / program, "--version"), f"{program} {version}\n")
        server, proxy, client = re.search(r"```\n(.*?)```", section("Without systemd"), re.DOTALL)[1].splitlines()
        for command, port in ((server, 5000), (proxy, 5001)):
            self.start(command)
            wait.until(lambda: self.is_connected(port), command)
        self.assertEqual(self.network.run(*self.shell(client)), "Hello world!\n")

    def install(self):
        cargo, *arguments = shlex.split(re.search("`(cargo install [^`]*)`", section("With cargo"))[1])
        self.assertEqual(cargo, "cargo")
        more = ["--offline", "--quiet", f"--root={self.root}", "--bins", f"--example={EXAMPLE}"]
        done = subprocess.run([prerequisites.cargo(), *arguments, *more], cwd=PROJECT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def shell(self, command):
        """The command line for a command of the document, at the home of somebody who has installed the programs."""
        return ["env", f"HOME={self.root}", f"PATH={self.root}/bin:/usr/bin:/bin", "sh", "-euc", command]

    def start(self, command):
        """Runs a command until the end of the test."""
        with self.network.entered():
            process = subprocess.Popen(self.shell(command), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(os.killpg, process.pid, signal.SIGKILL)

    def is_connected(self, port):
        try:
            clients.connect(self.network, ("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True
