"""systemd's own tool calls the proxy (varlinkctl is new in systemd 255)."""

import json
import subprocess

from lab.case import HostTest, only_on

CONTROL = "/run/disnix-tcp-proxy/default/control"
INTERFACE = "io.github.disnix-proxy-example.Proxy"


class Varlinkctl(HostTest):
    def setUp(self):
        super().setUp()
        self.start_server()
        self.start_proxy()

    def _call(self, method, parameters=None, *options):
        return self.host.run(["varlinkctl", "call", "--json=short", *options, CONTROL,
                              f"{INTERFACE}.{method}", json.dumps(parameters or {})])

    @only_on("257")
    def test_info_names_the_interface(self):
        self.assertIn(INTERFACE, self.host.run(["varlinkctl", "info", CONTROL]))

    @only_on("257")
    def test_introspect_shows_every_method(self):
        shown = self.host.run(["varlinkctl", "introspect", CONTROL, INTERFACE])
        for method in ("GetStatus", "ListConnections", "Lock", "Unlock", "SetTarget", "Switch",
                       "Monitor", "CloseConnection"):
            self.assertRegex(shown, rf"method {method}\b")

    @only_on("257")
    def test_call_locks_and_unlocks(self):
        self.assertEqual(json.loads(self._call("GetStatus"))["status"]["gate"], "open")
        self.assertEqual(json.loads(self._call("Lock", {"reason": "test"}))["gate"], "locked")
        self.assertEqual(self.status()["gate"], "locked")
        self.assertEqual(json.loads(self._call("Unlock"))["gate"], "open")

    @only_on("257")
    def test_call_with_more_follows_the_drain(self):
        with self.host.client(5001) as client:
            client.ask("hello")
            lock = self.host.start(
                ["varlinkctl", "call", "--more", "--json=short", "--timeout=infinity", CONTROL,
                 f"{INTERFACE}.Lock", "{}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.wait_for_gate("draining")
        status, out, err = lock.output()
        self.assertEqual(status, 0, err)
        self.assertIn("locked", out)

    @only_on("257")
    def test_errors_have_names(self):
        done = self.host.result(["varlinkctl", "call", CONTROL, f"{INTERFACE}.CloseConnection",
                                 '{"id":999999}'])
        self.assertIn(f"{INTERFACE}.NoSuchConnection", done.stdout + done.stderr)
