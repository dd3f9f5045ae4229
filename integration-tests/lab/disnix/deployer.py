"""Deploys models to hosts with the model of Disnix."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab import prerequisites
from lab.nix import Expression, Nix

EXPRESSIONS = prerequisites.PROJECT / "integration-tests" / "nix" / "disnix"
TIMEOUT = 120


@dataclass(frozen=True)
class Models:
    """The arguments of disnix-env. Without services everything is undeployed; `parameters` is the Nix of
    --extra-params."""

    infrastructure: Path
    services: Path | None = None
    distribution: Path | None = None
    parameters: str = "{ }"


class Deployment:
    """A running deployment, after its build."""

    def __init__(self, command, log, environment=None):
        with open(log, "wb") as output:
            self._popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                           stderr=subprocess.STDOUT, start_new_session=True,
                                           env=environment)

    def is_running(self):
        """Whether it still runs."""
        return self._popen.poll() is None

    def wait(self):
        """Whether it succeeded."""
        return self._popen.wait(TIMEOUT) == 0

    def pause(self):
        """Interrupts the coordinator; running operations on the machines continue."""
        os.killpg(self._popen.pid, signal.SIGSTOP)

    def kill(self):
        """Kills the coordinator, which breaks its connections to the machines."""
        os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

class Deployer:
    """A coordinator, which remembers its last deployment."""

    def __init__(self, hosts, directory):
        self.hosts = hosts
        self.directory = Path(directory)
        self.directory.mkdir(parents=True)
        self.log = self.directory / "log"
        self.nix = Nix()

    @property
    def output(self):
        """The output of the last deployment so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self, models):
        """Builds the models and starts their deployment."""
        raise NotImplementedError

    def deploy(self, models):
        """Must succeed."""
        if not self.start(models).wait():
            raise AssertionError(f"the deployment has failed:\n{self.output}")

    def colleague(self, directory):
        """Another coordinator with the same last deployment."""
        raise NotImplementedError

    def unlock(self):
        """As `disnix-lock --unlock`, after an interrupted deployment."""
        raise NotImplementedError

    def components(self, target, type):
        """The packages of a type in the profile that is set on a host."""
        raise NotImplementedError


class ModelOfDisnix(Deployer):
    """See coordinator.py."""

    def __init__(self, hosts, directory):
        super().__init__(hosts, directory)
        self._profile = self.directory / "profile"
        self._program = self.nix.build(EXPRESSIONS / "target.nix")[0]

    def start(self, models):
        arguments = {name: value for name, value in (
            ("infrastructure", models.infrastructure),
            ("services", models.services),
            ("distribution", models.distribution),
            ("extraParams", Expression(models.parameters)),
        ) if value is not None}
        manifest = self.nix.build(EXPRESSIONS / "manifest.nix", arguments=arguments)[0]
        return Deployment(
            [sys.executable, "-B", str(Path(__file__).parent / "coordinator.py"),
             "--target-program", str(self._program), "--profile", str(self._profile),
             *[f"--machine={name}={host.machine.leader}" for name, host in self.hosts.items()],
             str(manifest)],
            self.log)

    def colleague(self, directory):
        other = ModelOfDisnix(self.hosts, directory)
        other._profile.symlink_to(self._profile.readlink())
        return other

    def unlock(self):
        for host in self.hosts.values():
            host.run([self._program, "unlock", "default"])

    def components(self, target, type):
        lines = self.hosts[target].run(["cat", "/nix/var/nix/profiles/disnix/default/services"])
        return [line.split()[2] for line in lines.splitlines() if line.split()[0] == type]
