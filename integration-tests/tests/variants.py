"""The three variants, deployed unchanged, and used with the deployed client."""

from dataclasses import replace

from lab.case import VERSIONS, only_on
from lab.deployment import GREETING, PROCESSES, SOCKET_ACTIVATION, SYSTEMD, DeploymentTest, Desired
from lab.prerequisites import PROJECT

MODELS = PROJECT / "nix" / "models.nix"
PROFILE = "/nix/var/nix/profiles/disnix/default/bin"
SERVER = "nix-process-hello-world-server.service"
PROXY = "nix-process-disnix-tcp-proxy-hello-world-3000.service"


class _Variant(DeploymentTest):
    distribution = ""

    def setUp(self):
        super().setUp()
        self.deploy(Desired(distribution=self.flavour.path / self.distribution))

    def ask(self):
        """The output of the client on test2."""
        return self.hosts["test2"].run([f"{PROFILE}/hello-world-client"], input="hello\n").strip()


class _WithoutProxy:
    distribution = "distribution-without-proxy.nix"

    def test_the_client_reaches_the_server(self):
        self.assertEqual(self.ask(), GREETING)
        self.assertTrue(self.is_refused(), "there must be no proxy")


@only_on(VERSIONS[0])
class WithoutProxy(_WithoutProxy, _Variant):
    flavour = replace(SYSTEMD, services="services-without-proxy.nix")


@only_on(VERSIONS[0])
class WithoutProxyNorSystemd(_WithoutProxy, _Variant):
    flavour = replace(PROCESSES, services="services-without-proxy.nix")


@only_on(VERSIONS[0])
class SocketActivation(_WithoutProxy, _Variant):
    flavour = SOCKET_ACTIVATION

    def test_the_client_reaches_the_server(self):
        host = self.hosts["test1"]
        self.assertEqual(host.state(SERVER), "inactive")
        super().test_the_client_reaches_the_server()
        self.assertEqual(host.state(SERVER), "active")


@only_on(VERSIONS[1])
class OnAnotherLinux(DeploymentTest):
    """Machines other than NixOS, with systemd's usual directory for units."""

    flavour = SYSTEMD
    options = {**DeploymentTest.options, "environment": {}}

    def test_units_are_where_the_infrastructure_model_says_and_start_with_the_machine(self):
        model = self.deployer.directory / "infrastructure.nix"
        original = (self.flavour.path / "infrastructure.nix").read_text()
        model.write_text(original.replace("containers = onNixOS;", "containers = onOtherLinux;"))
        self.deploy(Desired(infrastructure=model))
        self.assertEqual(self.greeting(), GREETING)
        wanted = "/etc/systemd/system/multi-user.target.wants"
        links = self.hosts["test1"].run(["ls", wanted]).split()
        self.assertTrue({SERVER, PROXY.replace(".service", ".socket")} <= set(links), links)

    def test_a_proxy_whose_units_systemd_would_not_find_says_so(self):
        proxy, = self.deployer.nix.build(
            MODELS, "deployment.services-with-proxy.distribution-with-proxy.systemd.disnix_tcp_proxy",
            self.deployer.nix.frameworks)
        done = self.hosts["test1"].result([f"{proxy}/bin/wrapper", "activate", "wrapper"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("systemd does not look for units in /etc/systemd-mutable/system", done.stderr)
        self.assertIn("systemdTargetDir", done.stderr)


@only_on(VERSIONS[0])
class SocketActivationWithProxy(_Variant):
    flavour = SOCKET_ACTIVATION
    distribution = "distribution-with-proxy.nix"

    def test_the_client_reaches_the_server_through_the_proxy_and_starts_both(self):
        host = self.hosts["test1"]
        # As after an idle exit.
        host.systemctl("stop", PROXY, SERVER)
        self.assertEqual([host.state(unit) for unit in (PROXY, SERVER)], ["inactive", "inactive"])
        self.assertEqual(self.ask(), GREETING)
        self.assertEqual([host.state(unit) for unit in (PROXY, SERVER)], ["active", "active"])

    def test_the_proxy_can_be_called_on_its_machine(self):
        output = self.hosts["test1"].run([f"{PROFILE}/disnix-tcp-proxyctl"])
        self.assertIn("hello-world-3000", output)
        self.assertIn("test1:3001", output)
