"""The examples of systemd-socket-proxyd(8) with this program, as doc/replacing-socket-proxyd.md has them."""

import re

from lab.case import HostTest
from lab.prerequisites import PROJECT

SOCKET = "proxy-to-nginx.socket"
SERVICE = "proxy-to-nginx.service"
UNITS = "/etc/systemd/system"
NGINX = """
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {}
http { access_log off; server { listen %s; return 200 "from nginx"; } }
"""
WARNING = 4


def examples():
    """The units of the page: the socket, the service without a namespace, and the one with it."""
    page = (PROJECT / "doc/replacing-socket-proxyd.md").read_text()
    section = page.partition("### The examples of the manual")[2].partition("\n## ")[0]
    return re.findall(r"```\n(.*?)```\n", section, re.DOTALL)


class Examples(HostTest):
    def test_both_examples_of_the_manual_work_with_one_line_changed_and_nobody_complains(self):
        socket, plain, joined = examples()
        self.host.write(f"{UNITS}/{SOCKET}", socket)
        self.serve("unix:/run/nginx/socket", "RuntimeDirectory=nginx\n")
        self.assert_works(plain)
        self.host.systemctl("stop", SOCKET, SERVICE, "nginx.service")
        self.serve("8080", "PrivateTmp=yes\nPrivateNetwork=yes\n")
        self.assert_works(joined)
        # Its command line in other words, in a unit whose messages systemd reads.
        self.host.write("/etc/services", "http-alt 8080/tcp\n")
        self.host.drop_in(SERVICE, "[Service]\nType=notify\nExecStart=\n"
                                   "ExecStart=/usr/bin/disnix-tcp-proxy -c 7 --exit-idle-time=5min 127.0.0.1:http-alt\n")
        self.host.systemctl("stop", SOCKET, SERVICE)
        self.assert_works(joined)
        self.assertIn("set FileDescriptorStoreMax=", self.said(SERVICE))

    def serve(self, listen, settings):
        self.host.write("/etc/nginx/nginx.conf", NGINX % listen)
        self.host.drop_in("nginx.service", f"[Service]\n{settings}")

    def assert_works(self, service):
        """A client is served, and neither systemd nor the proxy logs a warning about the units."""
        self.host.write(f"{UNITS}/{SERVICE}", service)
        self.host.systemctl("daemon-reload")
        before = self.host.journal.cursor()
        self.host.systemctl("enable", "--now", SOCKET)
        with self.host.client(80, timeout=30) as client:
            client.send("GET / HTTP/1.0\r\n\r\n")
            self.assertTrue(client.rest().endswith(b"\r\n\r\nfrom nginx"))
        self.assertEqual(self.host.state(SERVICE), "active")
        for unit in (SOCKET, SERVICE):
            # The host's hard limit may be low.
            complaints = [entry["MESSAGE"] for entry in self.about(unit, before)
                          if int(entry["PRIORITY"]) <= WARNING and "raise LimitNOFILE=" not in entry["MESSAGE"]]
            self.assertEqual(complaints, [])
        self.assertTrue(self.about(SERVICE, before))

    def about(self, unit, after=None):
        """What the unit itself and systemd have logged about it."""
        return (self.host.journal.entries(after=after, unit=unit)
                + self.host.journal.entries(after=after, UNIT=unit))

    def said(self, unit):
        return "\n".join(entry["MESSAGE"] for entry in self.about(unit))
