"""An administrator's own unit, with only the lines of doc/promises.md."""

import re

from lab import wait
from lab.case import HostTest
from lab.prerequisites import PROJECT

UNIT = "web-proxy.service"
PORT = 5009


def lines_to_copy():
    """The block of doc/promises.md below its heading."""
    page = (PROJECT / "doc/promises.md").read_text()
    return re.search(r"## A unit of your own\n.*?```\n(\[Service\]\n.*?)```\n", page, re.DOTALL)[1]


class UnitOfYourOwn(HostTest):
    def setUp(self):
        super().setUp()
        self.upstream = self.host.upstream(8080)
        self.addCleanup(self.upstream.close)
        self.host.write("/etc/systemd/system/web-proxy.socket", f"[Socket]\nListenStream={PORT}\n")
        self.host.write(f"/etc/systemd/system/{UNIT}",
                        "[Service]\nExecStart=/usr/bin/disnix-tcp-proxy --exit-idle-time=5min 127.0.0.1:8080\n")
        self.host.drop_in(UNIT, lines_to_copy(), name="keep-connections")
        self.host.systemctl("start", "web-proxy.socket")
        self.client = self.host.client(PORT)
        self.served = self.upstream.accept()
        self.addCleanup(self.client.close)
        self.addCleanup(self.served.close)
        self.assert_connected()

    def test_its_connections_outlive_kill_9(self):
        for _ in range(3):
            self.assert_outlives(lambda: self.host.kill(UNIT))

    def test_its_connections_outlive_a_kill_of_all_its_processes(self):
        self.assert_outlives(lambda: self.host.run(["systemctl", "kill", "--signal=KILL", UNIT]))

    def test_its_connections_outlive_kill_and_a_restart(self):
        self.assert_outlives(lambda: self.host.kill(UNIT, "TERM"))
        self.assert_outlives(lambda: self.host.systemctl("restart", UNIT))

    def test_a_stop_is_no_failure(self):
        self.host.systemctl("stop", UNIT)
        self.assertEqual(self.host.state(UNIT), "inactive")

    def assert_outlives(self, end):
        pid = self.host.main_pid(UNIT)
        end()
        wait.until(lambda: self.host.main_pid(UNIT) not in (0, pid), "another main process")
        self.assert_connected()

    def assert_connected(self):
        for source, sink in ((self.client, self.served), (self.served, self.client)):
            source.send("line\n")
            self.assertEqual(sink.line(), "line")
