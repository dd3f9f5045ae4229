"""disnix-tcp-proxyctl add and remove: a proxy in one command."""

import json
import re

from lab import clients, wait
from lab.case import HostTest
from lab.prerequisites import PROJECT

PORT = 80
SOCKET = "disnix-tcp-proxy@web.socket"
SERVICE = "disnix-tcp-proxy@web.service"
LISTEN = f"/etc/systemd/system/{SOCKET}.d/listen.conf"
OPTIONS = "/etc/disnix-tcp-proxy/web.env"
ADD = ("add", "web", "--listen", PORT, "--target", "127.0.0.1:8080")
SOCKET_PROXYD = "/lib/systemd/systemd-socket-proxyd"


def blocks():
    """The commands of doc/your-service.md, in order."""
    page = (PROJECT / "doc/your-service.md").read_text()
    return re.findall(r"```\n(.*?) *```\n", page, re.DOTALL)


class _Shop(HostTest):
    """`shop.service` listens on port 8080."""

    def setUp(self):
        super().setUp()
        self.serve_on(8080)

    def configure(self, port):
        """shop.service, which greets on this port when it is started again."""
        self.host.write("/etc/systemd/system/shop.service",
                        f"[Service]\nExecStart=/usr/bin/hello-world-server {port}\n")
        self.host.systemctl("daemon-reload")

    def serve_on(self, port):
        """As `configure`, now."""
        self.configure(port)
        self.host.systemctl("restart", "shop.service")
        wait.until(lambda: self.host.listens_on(port), "the service")

    def add(self, *more):
        return self.ctl(*map(str, ADD), *more)

    def refused(self, *arguments):
        """What the command says, which must fail."""
        done = self.host.result(["disnix-tcp-proxyctl", *map(str, arguments)])
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def answer(self, port=PORT):
        with self.host.client(port, timeout=30) as client:
            return client.ask("hello")

    def assert_gone(self):
        for path in (LISTEN, OPTIONS, f"/etc/systemd/system/{SERVICE}.d", "/var/lib/disnix-tcp-proxy/web",
                     "/run/disnix-tcp-proxy-gate/web", "/run/disnix-tcp-proxy/web"):
            self.assertNotEqual(self.host.result(["ls", path]).returncode, 0, path)
        units = ["list-units", "--all", "--no-legend", "--plain", "disnix-tcp-proxy*@web.*"]
        listed = self.host.systemctl(*units)
        self.assertEqual(listed, "")
        links = self.host.run(["ls", "/etc/systemd/system"])
        wanted = self.host.run(["sh", "-c", "ls /etc/systemd/system/sockets.target.wants || true"])
        self.assertNotIn("@web", links + wanted)
        self.assertFalse(self.host.listens_on(PORT))

    def sh(self, commands):
        self.host.run(["sh", "-euc", commands])


class Adding(_Shop):
    def test_a_proxy_is_made_used_and_removed_as_the_page_says(self):
        restart, add, upgrade, _, remove = blocks()
        self.serve_on(PORT)
        self.configure(8080)
        self.sh(restart)
        wait.until(lambda: self.host.listens_on(8080), "the service")
        self.sh(add)
        self.assertEqual(self.answer(), "Hello world!")
        self.sh(upgrade)
        self.assertEqual(self.answer(), "Hello world!")
        wait.until(lambda: self.status()["open"] == 0, "no client")
        self.sh(remove)
        self.assert_gone()
        # systemd has read no unit of it that was not whole.
        self.host.run(["journalctl", "--sync"])
        said = self.host.run(["journalctl", "--quiet", "--output=cat", "_PID=1"])
        self.assertIn("Clients of disnix-tcp-proxy web", said)
        self.assertNotIn("no Listen setting", said)

    def test_its_target_can_be_changed_and_outlives_a_restart(self):
        self.add()
        self.serve_on(8081)
        self.assertEqual(self.status()["target"], "127.0.0.1:8080")
        self.ctl("switch", "127.0.0.1:8081")
        self.host.systemctl("restart", SERVICE)
        self.assertEqual(self.status()["target"], "127.0.0.1:8081")
        self.assertEqual(self.answer(), "Hello world!")

    def test_the_service_behind_it_is_started_with_it(self):
        self.host.systemctl("stop", "shop.service")
        self.add("--wants", "shop", "--exit-idle-time", "1s")
        self.assertEqual(self.host.state("shop.service"), "active")
        self.host.wait_for_state(SERVICE, "inactive")
        self.host.systemctl("stop", "shop.service")
        self.assertEqual(self.answer(), "Hello world!")

    def test_options_arrive_at_the_proxy(self):
        output = json.loads(self.ctl("--json", *map(str, ADD), "--connections-max", "7", "--set", "threads=1"))
        self.assertEqual([file["path"] for file in output["files"]], [LISTEN, OPTIONS])
        self.assertEqual(self.status()["connectionsMax"], 7)

    def test_what_cannot_be_started_is_taken_back_with_the_reason(self):
        said = self.refused(*ADD, "--set", "stall-timeout=soon")
        self.assertIn("soon", said)
        self.assertIn("is not a time", said)
        self.assertIn("removed again", said)
        self.assert_gone()
        # The next attempt succeeds.
        self.add()
        self.assertEqual(self.answer(), "Hello world!")

    def test_a_port_in_use_and_a_proxy_that_exists_are_refused_and_left_alone(self):
        self.serve_on(PORT)
        self.assertIn("in use", self.refused(*ADD))
        self.assertNotEqual(self.host.result(["ls", LISTEN]).returncode, 0)
        self.serve_on(8080)
        self.add()
        self.assertIn("there is a proxy web already", self.refused(*ADD))
        self.assertEqual(self.answer(), "Hello world!")

    def test_a_target_that_leads_back_by_a_name_is_taken_back(self):
        self.host.write("/etc/hosts", "127.0.0.1 localhost myself\n")
        said = self.refused("add", "web", "--listen", PORT, "--target", f"myself:{PORT}")
        self.assertIn("leads back", said)
        self.assert_gone()

    def test_while_a_client_is_connected_it_is_not_removed_unless_that_is_forced(self):
        self.add()
        with self.host.client(PORT) as client:
            client.ask("hello")
            self.assertIn("1 client is connected", self.refused("remove", "web"))
            self.assertEqual(client.ask("hello"), "Hello world!")
            # The gate is open again.
            self.assertEqual(self.answer(), "Hello world!")
            self.ctl("remove", "web", "--force")
            self.assertTrue(client.is_reset())
        self.assert_gone()

    def test_a_sleeping_proxy_is_removed_and_files_of_others_stay(self):
        self.add()
        self.host.systemctl("stop", SERVICE)
        self.host.drop_in(SOCKET, "[Socket]\nBacklog=7\n", name="override")
        self.assertIn("stays", self.ctl("remove", "web"))
        self.host.run(["rm", "-r", f"/etc/systemd/system/{SOCKET}.d"])
        self.host.systemctl("daemon-reload")
        self.assert_gone()

    def test_a_path_and_an_abstract_name_are_listened_on(self):
        self.ctl("add", "web", "--listen", "/run/web.sock", "--listen", "@web", "--listen", f"[::1]:{PORT}",
                 "--target", "127.0.0.1:8080")
        with self.host.unix_client("/run/web.sock") as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        with clients.connect(self.host.network, "\0web") as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        with self.host.client(PORT, address="::1") as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        wait.until(lambda: self.status()["open"] == 0, "no client")
        self.ctl("remove", "web")
        self.assertNotEqual(self.host.result(["ls", "/run/web.sock"]).returncode, 0)
        self.assert_gone()


class FromSocketProxyd(_Shop):
    """The units of systemd-socket-proxyd(8), with our service instead of nginx."""

    def setUp(self):
        super().setUp()
        self.host.write("/etc/systemd/system/old.socket",
                        f"[Socket]\nListenStream={PORT}\n[Install]\nWantedBy=sockets.target\n")
        self.host.write("/etc/systemd/system/old.service",
                        "[Unit]\nRequires=shop.service old.socket\nAfter=shop.service old.socket\n"
                        f"[Service]\nExecStart={SOCKET_PROXYD} --exit-idle-time=5min 127.0.0.1:8080\n"
                        "PrivateTmp=yes\nLimitNOFILE=999\n")
        self.host.systemctl("daemon-reload")
        self.host.systemctl("enable", "--now", "old.socket")
        self.assertEqual(self.answer(), "Hello world!")

    def test_the_commands_that_are_shown_switch_over(self):
        output = self.ctl("add", "web", "--from-socket-proxyd", "old")
        self.assertIn("not carried over: [Service] LimitNOFILE=999", output)
        self.assertEqual(self.host.state("old.service"), "active")
        self.assertEqual(self.answer(), "Hello world!")
        commands = re.findall(r"(?m)^    (systemctl .*|disnix-tcp-proxyctl .*)$", output)
        self.assertEqual(len([line for line in commands if "daemon-reload" not in line]), 4, output)
        self.sh("\n".join(commands))
        self.assert_replaced()

    def test_it_is_replaced_on_request(self):
        self.ctl("add", "web", "--from-socket-proxyd", "old.socket", "--replace")
        self.assert_replaced()

    def test_if_ours_does_not_start_theirs_is_back(self):
        said = self.refused("add", "web", "--from-socket-proxyd", "old", "--replace", "--set", "threads=none")
        self.assertIn("removed again", said)
        self.assertEqual(self.host.state("old.socket"), "active")
        self.assertEqual(self.host.show("old.socket", "UnitFileState"), "enabled")
        self.assertEqual(self.answer(), "Hello world!")

    def assert_replaced(self):
        self.assertEqual(self.host.state("old.socket"), "inactive")
        self.assertEqual(self.host.show("old.socket", "UnitFileState"), "disabled")
        self.assertEqual(self.answer(), "Hello world!")
        self.assertEqual(self.status()["target"], "127.0.0.1:8080")
        self.assertIn("shop.service", self.host.show(SERVICE, "Wants").split())
