"""HAProxy asks the proxy whether clients pass, as doc/load-balancer.md has it; keepalived accepts what is there for it."""

import re

from lab import wait
from lab.case import HostTest, only_on
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


def example(language):
    """The document's block in this language."""
    page = (PROJECT / "doc/load-balancer.md").read_text()
    return re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1]


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
