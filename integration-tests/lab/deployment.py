"""The base of the tests of upgrades: two hosts, a deployer, clients, and the upgrades themselves."""

import contextlib
import time
from dataclasses import dataclass, field

from lab import case, clients, prerequisites
from lab.disnix import real
from lab.disnix.deployer import EXPRESSIONS, ModelOfDisnix, Models
from lab.gate import Watch
from lab.load import Held, Load
from lab.network import NetworkTest

MODELS = prerequisites.PROJECT / "integration-tests" / "nix" / "models"

PROXY_PORT = 3000
HEALTH_PORT = 3999
GREETING = "Hello world!"

# How long the first client stays when the drain waits for it.
STAYS = 0.3
CROWD = 100


BROKEN_SERVER = f"import {EXPRESSIONS}/broken-server.nix"


# Parameters of a proxy that answers load balancers.
HEALTH = {"health": str(HEALTH_PORT)}


def another_version(number):
    """Nix for a package whose store paths differ for each number."""
    return f'import {EXPRESSIONS}/another-version.nix {{ version = "{number}"; }}'


@dataclass(frozen=True)
class Flavour:
    """A services model in one of the two directories of models."""

    name: str
    directory: str
    services: str
    frameworks: bool = True
    process_manager: str | None = None
    # Whether the distribution has hello_world_route; if not, the proxy includes it.
    has_route: bool = True

    @property
    def path(self):
        """The directory of the models."""
        return prerequisites.PROJECT / self.directory / "DistributedDeployment"


SYSTEMD = Flavour("systemd", "deployment", "services-with-proxy.nix")
SOCKET_ACTIVATION = Flavour("socket activation", "deployment", "services-with-socketactivation.nix")
PROCESSES = Flavour("processes", "deployment-simple", "services-with-proxy.nix", frameworks=False)
MANAGED_PROCESSES = Flavour("processes of nix-processmgmt", "deployment", "services-with-proxy.nix",
                            process_manager="disnix")


@dataclass
class Desired:
    """A deployment, as the differences to the models: the names of models in nix/models, and parameters
    with their Nix."""

    infrastructure: str = ""
    distribution: str = ""
    fails: bool = False
    server: dict = field(default_factory=dict)
    proxy: dict = field(default_factory=dict)
    route: dict = field(default_factory=dict)


class DeploymentTest(NetworkTest):
    """`self.deployer` deploys a flavour to `self.hosts`; clients connect to the proxy on test1."""

    flavour = SYSTEMD
    needs_package = True

    options = {
        "read_only": ["/nix/store", *([real.prefix()] if real.is_there() else [])],
        # The directory of Dysnomia's units on NixOS.
        "environment": {"SYSTEMD_UNIT_PATH": "/etc/systemd-mutable/system:"},
    }

    def setUp(self):
        super().setUp()
        for host in self.hosts.values():
            host.run(["mkdir", "-p", "/etc/systemd-mutable/system"])
        scratch = case.surroundings.live / f"{case.surroundings.name}-coordinator"
        deployer = real.RealDisnix if real.is_there() else ModelOfDisnix
        self.deployer = deployer(self.hosts, scratch)

    def evidence(self):
        return f"{self.deployer.output}\n{super().evidence()}"

    def control(self, port=PROXY_PORT):
        """The proxy's control socket, as a path outside of its host."""
        return self.hosts["test1"].machine.path(f"/run/disnix-tcp-proxy/hello-world-{port}/control")

    def models(self, desired):
        """The models that say so."""
        services = self.flavour.path / self.flavour.services
        parameters = {name: f"{{ {' '.join(f'{key} = {value};' for key, value in given.items())} }}"
                      for name, given in (("server", desired.server), ("proxy", desired.proxy),
                                          ("route", desired.route))}
        if self.flavour.frameworks:
            parameters["nix-processmgmt"] = self.deployer.nix.processmgmt
        if self.flavour.process_manager:
            parameters["processManager"] = f'"{self.flavour.process_manager}"'
        if desired.fails:
            parameters["model"], services = services, MODELS / "services-with-failure.nix"
        return Models(self._model(desired.infrastructure, "infrastructure.nix"), services,
                      self._distribution(desired),
                      f"{{ {' '.join(f'{name} = {value};' for name, value in parameters.items())} }}")

    def _model(self, ours, theirs):
        return MODELS / ours if ours else self.flavour.path / theirs

    def _distribution(self, desired):
        model = self._model(desired.distribution, "distribution-with-proxy.nix")
        if self.flavour.has_route:
            return model
        without = self.deployer.directory / f"without-route-{model.name}"
        without.write_text(f'models: removeAttrs (import {model} models) [ "hello_world_route" ]\n')
        return without

    def deploy(self, desired):
        """Must succeed."""
        self.deployer.deploy(self.models(desired))

    def client(self, port=PROXY_PORT, timeout=clients.TIMEOUT):
        """A client of the proxy, on the same switch as the hosts."""
        return clients.connect(self.lan, (self.address("test1"), port), timeout)

    def is_refused(self, port=PROXY_PORT):
        """Whether there is no listener, without connecting."""
        return not self.hosts["test1"].listens_on(port)

    def greeting(self, port=PROXY_PORT):
        """The answer to a client now."""
        with self.client(port) as client:
            answer = client.ask()
            client.quit()
        return answer

    def health(self, port=HEALTH_PORT):
        """The answer to a load balancer now: 200 OK, or 503 and the reason."""
        with self.client(port) as client:
            head, _, body = client.send("GET / HTTP/1.0\r\n\r\n").rest().decode().partition("\r\n\r\n")
        return f"{head.split()[1]} {body.strip()}"

    def components(self, target, type):
        """The packages of a type that are active on a host."""
        return self.deployer.components(target, type)

    def proxy_status(self, port=PROXY_PORT):
        """The proxy's status."""
        with Watch(self.control(port)) as gate:
            return gate.status

    def proxy_program(self):
        """The program that the proxy runs."""
        pid = self.proxy_status()["pid"]
        return self.hosts["test1"].run(["readlink", f"/proc/{pid}/exe"]).strip()

    @contextlib.contextmanager
    def clients(self, greetings):
        """A first client is connected before, and others arrive continuously. None of them may fail, and
        each must get one of these answers, the first client always the first answer."""
        with contextlib.ExitStack() as ends:
            load = Load(self.lan, (self.address("test1"), PROXY_PORT), greetings)
            ends.callback(load.end)
            held = Held(self.client(), greetings[0])
            ends.callback(held.leave)
            yield load, held
        self.assertEqual(load.failures, {}, f"why clients failed, and how many of {load.attempted}")

    def close_the_gate(self, gate, load):
        """Waits until a deployment has closed the gate and only one client is left; then 100 clients
        arrive, and must wait for a while."""
        gate.wait_for("draining")
        gate.wait_until(lambda status: status["open"] == 1, "one client to be left")
        load.crowd(CROWD)
        time.sleep(STAYS)
        self.assertEqual((gate.status["gate"], gate.status["open"]), ("draining", 1))

    def under_load(self, models, greetings, while_closed=lambda: None):
        """Deploys while clients arrive continuously, a first one is connected, and 100 more arrive when
        the gate is closed. Returns their results."""
        with self.clients(greetings) as (load, held):
            with Watch(self.control()) as gate:
                deployment = self.deployer.start(models)
                self.close_the_gate(gate, load)
            while_closed()
            self.assertTrue(deployment.is_running(), self.deployer.output)
            held.leave()
            succeeded = deployment.wait()
            ended = time.monotonic()
            load.wait_for_one_that_came_after(ended)
        return Upgrade(succeeded, load, ended)


@dataclass
class Upgrade:
    """A finished upgrade. No client has failed."""

    succeeded: bool
    load: Load
    ended: float

    @property
    def answers_since(self):
        """The answers to clients that arrived after its end."""
        return set(self.load.answers(self.ended))

    def __str__(self):
        return (f"{self.load.attempted} clients, {self.load.failures.total()} failed, "
                f"longest wait {self.load.longest_wait:.2f} s")
