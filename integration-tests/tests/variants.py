"""The three variants, each deployed as it is, and used with the client that was deployed."""

from dataclasses import replace

from lab.case import VERSIONS, only_on
from lab.deployment import GREETING, PROCESSES, SOCKET_ACTIVATION, SYSTEMD, DeploymentTest, Desired

PROFILE = "/nix/var/nix/profiles/disnix/default/bin"
SERVER = "nix-process-hello-world-server.service"
PROXY = "nix-process-disnix-tcp-proxy-hello-world-3000.service"


class _Variant(DeploymentTest):
    distribution = ""

    def setUp(self):
        super().setUp()
        self.deploy(Desired(distribution=self.flavour.path / self.distribution))

    def ask(self):
        """What the client on test2 says."""
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

    def test_the_proxy_can_be_asked_by_whoever_is_on_its_machine(self):
        told = self.hosts["test1"].run([f"{PROFILE}/disnix-tcp-proxyctl"])
        self.assertIn("hello-world-3000", told)
        self.assertIn("test1:3001", told)
