"""The service that is made with the library, with the units and commands of doc/service-in-rust.md."""

import json
import re
import shutil

from lab import prerequisites
from lab.case import HostTest
from lab.prerequisites import PROJECT

PROGRAM = "echo-server"
SERVICE = f"{PROGRAM}.service"


def page():
    """The page without what is above the units."""
    text = (PROJECT / "doc/service-in-rust.md").read_text()
    return text.split("## Its units\n")[1]


class ServiceInRust(HostTest):
    def setUp(self):
        super().setUp()
        path = self.host.machine.path("/usr/local/bin") / PROGRAM
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(prerequisites.target_directory() / "release" / "examples" / PROGRAM, path)
        path.chmod(0o755)
        for path, text in re.findall(r"`(/etc/[^`]*)`:\n\n```\n(.*?)```", page(), re.DOTALL):
            self.host.write(path, text)

    def test_it_is_started_by_a_client_gets_clients_from_proxies_and_ends_without_them(self):
        commands = re.findall(r":\n\n```\n((?:systemctl|disnix).*?)```", page(), re.DOTALL)
        begin, proxy, handover = commands
        self.host.run(["sh", "-euc", begin])
        self.assertEqual(self.host.state(SERVICE), "inactive")
        self.assert_answered(7000)
        self.host.run(["sh", "-euc", proxy])
        self.assert_answered(7001)
        self.host.run(["sh", "-euc", handover])
        with self.host.client(7002) as client:
            self.assertEqual(client.ask("again"), "again")
            one = json.loads(self.ctl("--instance", "direct", "--json", "connections"))[0]
            self.assertEqual(one["upstream"], "handover:/run/echo-server/handover")
        self.host.wait_for_state(SERVICE, "inactive")
        self.assertNotIn(SERVICE, self.host.failed_units())

    def assert_answered(self, port):
        with self.host.client(port) as client:
            self.assertEqual(client.ask("again"), "again")
