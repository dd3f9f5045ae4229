"""HAProxy and keepalived ask the proxy whether clients pass, as doc/load-balancer.md has it."""

import re

from lab import clients, network, wait
from lab.case import HostTest, only_on
from lab.network import NetworkTest
from lab.prerequisites import PROJECT

STATS = "/run/haproxy/lab.sock"
HEAD = f"""global
  stats socket {STATS} level admin
defaults
  timeout connect 5s
  timeout client 1m
  timeout server 1m
frontend clients
  mode tcp
  bind :5002
  default_backend web
"""


def example(language, number=0):
    """The document's block in this language; the first one, or another."""
    page = (PROJECT / "doc/load-balancer.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[number]


def backend():
    """The block for HAProxy, with one of its two servers replaced by the proxy of this machine."""
    lines = [line for line in example("haproxy").splitlines() if not line.strip().startswith("server b ")]
    return "\n".join(lines).replace("10.0.0.11:80", "127.0.0.1:5001").replace("inter 1s", "inter 200ms") + "\n"


class LoadBalancer(HostTest):
    def setUp(self):
        super().setUp()
        self.host.drop_in("disnix-tcp-proxy.socket", "[Socket]\nListenStream=8081\n")
        self.start_server()
        self.start_proxy(health=8081)
        self.host.write("/etc/haproxy/haproxy.cfg", HEAD + backend())
        self.host.systemctl("start", "haproxy.service")

    def test_it_sends_nobody_to_a_proxy_that_is_locked_or_whose_service_is_away(self):
        self.wait_for("UP")
        with self.host.client(5002) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
            client.quit()
        self.ctl("lock", "--reason", "upgrade")
        self.wait_for("DOWN")
        self.ctl("unlock")
        self.wait_for("UP")
        # The last client was more than five seconds ago, or the proxy asks the service again by then.
        self.host.systemctl("stop", "hello-world-server.socket", "hello-world-server.service")
        self.wait_for("DOWN")
        self.assertIn("Upstream: not reached since", self.ctl("status", "--wake"))
        self.host.systemctl("start", "hello-world-server.socket")
        self.wait_for("UP")

    def wait_for(self, state):
        wait.until(lambda: self.state() == state, f"HAProxy to find the proxy {state}")

    def state(self):
        """UP or DOWN, what HAProxy thinks of the proxy."""
        with self.host.unix_client(STATS) as client:
            table = client.send("show stat\n").rest().decode()
        rows = [line.split(",") for line in table.splitlines()]
        column = rows[0].index("status")
        return next(row[column] for row in rows if row[:2] == ["web", "a"]).split()[0]


@only_on("252")
class Keepalived(HostTest):
    def test_it_finds_nothing_wrong_with_the_example_and_a_misspelt_word_in_another(self):
        text = example("keepalived")
        self.assertEqual(self.check(text), 0)
        self.assertNotEqual(self.check(text.replace("inhibit_on_failure", "inhibit_on_failur")), 0)

    def check(self, text):
        """The exit status of keepalived, which only looks at the configuration."""
        self.host.write("/etc/keepalived/lab.conf", text)
        return self.host.result(["keepalived", "--config-test", "--use-file=/etc/keepalived/lab.conf"]).returncode


@only_on("252")
class MovingAddress(NetworkTest):
    """Two machines with a proxy and a service each, and an address that keepalived gives to one of them."""

    names = ("one", "other")
    has_project = True
    moving = network.address(99)

    def setUp(self):
        super().setUp()
        for name, host in self.hosts.items():
            host.drop_in("disnix-tcp-proxy.socket", "[Socket]\nListenStream=127.0.0.1:8081\n")
            host.configure("disnix-tcp-proxy", target="127.0.0.1:5000", health="127.0.0.1:8081", keepalive="2s")
            host.configure("hello-world-server", greeting=name)
            host.systemctl("start", "hello-world-server.socket", "disnix-tcp-proxy.socket",
                           "disnix-tcp-proxy-control.socket")
        for name, host in self.hosts.items():
            host.write("/etc/keepalived/keepalived.conf", self.configuration(name))
            host.systemctl("start", "keepalived.service")

    def configuration(self, name):
        """The block for keepalived, quicker, and with the names and addresses of the laboratory."""
        priority = {"one": 100, "other": 90}[name]
        text = example("keepalived", 1)
        for old, new in (("eth0", network.INTERFACE), ("192.0.2.1/24", f"{self.moving}/{network.PREFIX}"),
                         ("priority 100", f"priority {priority}\n    advert_int 0.1"), ("fall 10", "fall 1")):
            self.assertIn(old, text)
            text = text.replace(old, new)
        return text

    def test_it_leaves_a_proxy_that_is_locked_with_its_open_connections_and_comes_back(self):
        self.wait_for("one")
        client = self.client()
        self.assertEqual(client.ask("hello"), "one")
        lock = self.hosts["one"].start(["disnix-tcp-proxyctl", "lock"])
        self.wait_for("other")
        self.assertTrue(client.send("hello\r\n").is_reset())
        self.assertEqual(self.client().ask("hello"), "other")
        # The keepalive of the proxy has found out.
        self.assertEqual(lock.wait(30), 0)
        self.ctl("one", "unlock")
        self.wait_for("one")
        self.assertEqual(self.client().ask("hello"), "one")

    def test_clients_wait_on_the_first_machine_if_they_pass_on_none(self):
        self.wait_for("one")
        self.ctl("one", "lock")
        self.wait_for("other")
        self.ctl("other", "lock")
        self.wait_for("one")
        client = self.client().send("hello\r\n")
        self.assertTrue(client.is_silent(0.3))
        self.ctl("one", "unlock")
        self.assertEqual(client.line(), "one")

    def ctl(self, name, verb):
        self.hosts[name].run(["disnix-tcp-proxyctl", verb])

    def client(self):
        """A client of the moving address."""
        client = clients.connect(self.lan, (self.moving, 5001))
        self.addCleanup(client.close)
        return client

    def wait_for(self, name):
        """Waits until one machine has the address, and no other."""
        wait.until(lambda: self.holders() == [name], f"{name} to have {self.moving}")

    def holders(self):
        """The machines that have the address."""
        shown = {name: host.network.run("ip", "-oneline", "address", "show", "dev", network.INTERFACE)
                 for name, host in self.hosts.items()}
        return [name for name, text in shown.items() if f" {self.moving}/" in text]
