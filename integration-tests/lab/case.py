"""Base classes of tests: with freshly booted hosts, or with Nix and no host."""

import contextlib
import json
import subprocess
import unittest
from dataclasses import dataclass
from pathlib import Path

from lab import wait
from lab.host import COMMAND_TIMEOUT, Host
from lab.machine import Machine
from lab.nix import Nix, NixFailed


@dataclass
class Surroundings:
    """The surroundings of the test that runs in this process."""

    version: str
    layers: list
    live: Path
    name: str
    quick: bool = False
    # The files of the Debian packages by their names, for a test with `needs_debs`.
    debs: dict = None


surroundings: Surroundings = None

VERSIONS = ("252", "257")
# The newest one, for tests that name it.
NEWEST = "262"
# For a test that boots nothing: it runs once.
NO_SYSTEMD = "-"


def only_on(*versions):
    """For a test of something that other versions of systemd do not have, or a class of tests for
    which one version is enough."""
    def mark(test):
        test.versions = versions
        return test
    return mark


def heavy(test):
    """For a long test, which starts first."""
    test.heavy = True
    return test


def times(count):
    """How often to repeat something; `--quick` does a tenth."""
    return max(1, count // 10) if surroundings.quick else count


class NixTest(unittest.TestCase):
    """`self.nix` is this machine's Nix. There is no host, so such a test runs once."""

    versions = (NO_SYSTEMD,)
    needs_package = True
    maxDiff = None
    longMessage = True

    def setUp(self):
        self.nix = Nix()

    def assert_refused(self, sentence, evaluate, *arguments, **options):
        """The evaluation must fail with a message that contains this."""
        with self.assertRaises(NixFailed) as refused:
            evaluate(*arguments, **options)
        self.assertIn(sentence, refused.exception.message)


class LabTest(unittest.TestCase):
    """A test with hosts of its own; at the end no unit may have failed on any of them."""

    versions = VERSIONS
    maxDiff = None
    longMessage = True

    def run(self, result=None):
        """Keeps the end of the journals if the test has failed."""
        self.post_mortem = ""
        self._hosts = []
        return super().run(result)

    def boot(self, name="", layers=None, **options):
        """A host; `name` distinguishes the hosts of a test."""
        unique = "-".join(filter(None, [surroundings.name, name]))
        machine = Machine(unique, layers or surroundings.layers, surroundings.live / unique, **options)
        host = Host(machine, surroundings.version)
        self.addCleanup(host.destroy)
        self._hosts.append((name, host))
        return host

    def evidence(self):
        """Information about the failure of a test."""
        return "\n".join(f"{name}\n{host.journal.since_boot()}" for name, host in self._hosts)

    @contextlib.contextmanager
    def _evidence_on_failure(self):
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                self.post_mortem = self.evidence()
            raise

    def _callTestMethod(self, method):
        with self._evidence_on_failure():
            method()
            for name, host in self._hosts:
                self.assertEqual(host.failed_units(), [], f"no unit may be in state failed {name}")


class HostTest(LabTest):
    """`self.host` is a host on which the project is installed."""

    def setUp(self):
        self.host = self.boot()

    # The proxy and the server that most tests use

    def start_server(self, **options):
        """hello-world-server, socket-activated, on port 5000."""
        if options:
            self.host.configure("hello-world-server", **options)
        self.host.systemctl("start", "hello-world-server.socket")

    def start_proxy(self, target="127.0.0.1:5000", **options):
        """disnix-tcp-proxy, socket-activated, on port 5001, with its control socket."""
        self.host.configure("disnix-tcp-proxy", target=target, **options)
        self.host.systemctl("start", "disnix-tcp-proxy.socket", "disnix-tcp-proxy-control.socket")

    def ctl(self, *arguments, check=True, timeout=COMMAND_TIMEOUT):
        """Runs disnix-tcp-proxyctl, which must succeed, and returns its output."""
        return self.host.run(["disnix-tcp-proxyctl", *arguments], check=check, timeout=timeout)

    def lock_in_background(self, *options):
        """A lock whose caller waits; kill it, or wait for its end."""
        return self.host.start(["disnix-tcp-proxyctl", "lock", *options],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def status(self):
        """The proxy's state, from the proxy itself: `disnix-tcp-proxyctl --json status --wake`."""
        answer = json.loads(self.ctl("--json", "status", "--wake"))
        return answer.get("status", answer)

    def connections(self):
        """The proxy's open connections, oldest first."""
        listed = self.ctl("--json", "connections").strip()
        try:
            found = json.loads(listed or "[]")
        except json.JSONDecodeError:
            found = [json.loads(line) for line in listed.splitlines()]
        found = found.get("connections", found) if isinstance(found, dict) else found
        return sorted(found, key=lambda connection: connection["id"])

    def wait_for_gate(self, gate, timeout=30):
        """Waits until the gate is open, draining or locked."""
        wait.until(lambda: self.status()["gate"] == gate, f"the gate to be {gate}", timeout)

    def wait_for_open(self, count, timeout=30):
        """Waits until the proxy has this number of open connections."""
        wait.until(lambda: self.status()["open"] == count, f"{count} open connections", timeout)
