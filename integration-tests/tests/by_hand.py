"""The commands of doc/by-hand.md, one block after the other."""

import re

from lab import wait
from lab.case import HostTest
from lab.prerequisites import PROJECT

PORT = 80
PROXY = "disnix-tcp-proxy@web"


def blocks():
    """The page's blocks of commands, in order, without the first, the installation."""
    page = (PROJECT / "doc/by-hand.md").read_text()
    return re.findall(r"```\n(.*?)```\n", page, re.DOTALL)[1:]


class ByHand(HostTest):
    def test_a_proxy_is_put_before_it_and_removed_as_the_page_says(self):
        prepare, switch, upgrade, leave, clean, remove = blocks()
        self.serve_on(PORT)
        self.host.systemctl("start", "shop.service")
        wait.until(lambda: self.host.listens_on(PORT), "the service")
        self.assert_answered()
        self.sh(prepare)
        self.serve_on(8080)
        self.sh(switch)
        self.assert_answered()
        self.sh(upgrade)
        self.assert_answered()
        self.sh(leave)
        self.assertEqual(self.host.state(f"{PROXY}.service"), "inactive")
        self.serve_on(PORT)
        self.host.systemctl("restart", "shop.service")
        wait.until(lambda: self.host.listens_on(PORT), "the service")
        self.assert_answered()
        self.sh(clean)
        for directory in ("/var/lib/disnix-tcp-proxy/web", "/run/disnix-tcp-proxy-gate/web"):
            self.assertNotEqual(self.host.result(["ls", directory]).returncode, 0, directory)
        self.sh(remove)
        listed = self.host.result(["systemctl", "list-unit-files", "--no-legend", "disnix-tcp-proxy*"])
        self.assertEqual(listed.stdout, "")

    def serve_on(self, port):
        self.host.write("/etc/systemd/system/shop.service", f"[Service]\nExecStart=/usr/bin/hello-world-server {port}\n")
        self.host.systemctl("daemon-reload")

    def sh(self, commands):
        self.host.run(["sh", "-euc", commands])

    def assert_answered(self):
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
