"""HAProxy asks the proxy whether clients pass, as doc/load-balancer.md has it."""

import re

from lab import wait
from lab.case import HostTest
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


def backend():
    """The block of the document, with one of its two servers replaced by the proxy of this machine."""
    page = (PROJECT / "doc/load-balancer.md").read_text()
    block = re.search(r"```haproxy\n(.*?)```", page, re.DOTALL)[1]
    lines = [line for line in block.splitlines() if not line.strip().startswith("server b ")]
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
