"""The units as systemd judges them, and the catalog, the group and the templates beside them."""

import json
import re

from lab import journal, project
from lab.case import HostTest

TEMPLATE = ("disnix-tcp-proxy@{0}.socket", "disnix-tcp-proxy-control@{0}.socket")


class Units(HostTest):
    def test_systemd_analyze_verify_has_nothing_to_say(self):
        names = [path.name.replace("@.", "@main.") for pattern in ("*.service", "*.socket")
                 for path in sorted(project.UNITS.glob(pattern))]
        self.assertGreater(len(names), 5)
        # A template has no address of its own.
        self.host.drop_in("disnix-tcp-proxy@main.socket", "[Socket]\nListenStream=5101\n")
        done = self.host.result(["systemd-analyze", "verify", "--man=no", *names])
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_systemd_analyze_security_is_what_the_documents_say(self):
        self.assertGreater(len(project.services()), 2)
        for name in project.services():
            with self.subTest(name):
                report = self.host.run(["systemd-analyze", "security", "--no-pager", name])
                score = float(re.search(r"Overall exposure level for \S+ ([\d.]+)", report)[1])
                print(f"{name}: {score}")
                # As in the documents. The other units have what the proxy would pay for with its pause.
                is_proxy = re.fullmatch(r"disnix-tcp-proxy(-metrics|@\w*)?\.service", name)
                self.assertLessEqual(score, 2.2 if is_proxy else 1.4, report)

    def test_services_that_get_the_same_sockets_leave_them_non_blocking(self):
        shared = [path for path in project.UNITS.glob("*.service") if "\nSockets=" in path.read_text()]
        self.assertGreater(len(shared), 5)
        for path in shared:
            self.assertIn("\nNonBlocking=yes\n", path.read_text(), path.name)

    def test_a_proxy_serves_although_another_service_gets_its_sockets(self):
        self.start_server()
        self.start_proxy()
        self.host.client(5001).quit()
        # That of the shipped unit, or of a unit of somebody else's.
        for blocking in ("NonBlocking=yes", "NonBlocking=no"):
            with self.subTest(blocking):
                self.host.drop_in("disnix-tcp-proxy-pause.service", f"[Service]\n{blocking}\n")
                self.host.systemctl("start", "--no-block", "disnix-tcp-proxy-pause.service")
                self.host.wait_for_state("disnix-tcp-proxy-pause.service", "activating")
                for _ in range(5):
                    with self.host.client(5001) as client:
                        self.assertEqual(client.ask("hello"), "Hello world!")
                self.assertEqual(self.status()["gate"], "open")
                self.host.systemctl("stop", "disnix-tcp-proxy-pause.service")

    def test_every_event_is_explained_by_the_catalog(self):
        for message_id, name in journal.NAMES.items():
            with self.subTest(name):
                entry = self.host.result(["journalctl", "--dump-catalog", message_id])
                self.assertRegex(entry.stdout, r"(?m)^Subject: \S+", entry.stderr)
                self.assertGreater(len(entry.stdout.split("\n\n", 1)[-1].strip()), 40)


class Operators(HostTest):
    def setUp(self):
        super().setUp()
        self.start_server()
        self.start_proxy()

    def test_the_group_may_lock_and_others_may_not(self):
        as_user = ["setpriv", "--reuid=65534", "--clear-groups"]
        status = ["disnix-tcp-proxyctl", "status", "--wake"]
        group = self.host.run(["getent", "group", project.OPERATORS]).split(":")[2]
        member = ["setpriv", "--reuid=65534", "--regid=65534", f"--groups={group}"]
        self.assertEqual(self.host.result([*member, *status]).returncode, 0)
        stranger = self.host.result([*as_user, "--regid=65534", *status])
        self.assertEqual(stranger.returncode, 4)
        self.assertIn(f"the group {project.OPERATORS}", stranger.stderr)

    def test_status_4_when_there_is_no_proxy(self):
        self.host.systemctl("stop", "disnix-tcp-proxy-control.socket", "disnix-tcp-proxy.socket",
                            "disnix-tcp-proxy.service")
        done = self.host.result(["disnix-tcp-proxyctl", "status"])
        self.assertEqual(done.returncode, 4, done.stderr)


class Templates(HostTest):
    def _instance(self, name, port, target):
        self.host.write(f"/etc/disnix-tcp-proxy/{name}.env", f"DISNIX_TCP_PROXY_TARGET={target}\n")
        self.host.drop_in(f"disnix-tcp-proxy@{name}.socket", f"[Socket]\nListenStream={port}\n")
        self.host.systemctl("start", *(unit.format(name) for unit in TEMPLATE))

    def test_one_host_runs_many_proxies_each_with_a_lock_of_its_own(self):
        self.start_server()
        self._instance("one", 5101, "127.0.0.1:5000")
        self._instance("two", 5102, "127.0.0.1:5000")
        for port in (5101, 5102):
            self.assertEqual(self.host.client(port).ask("hello"), "Hello world!")
        self.host.systemctl("restart", "disnix-tcp-proxy@one.service", "disnix-tcp-proxy@two.service")
        self.ctl("--instance", "one", "lock")
        with self.host.client(5101) as locked, self.host.client(5102) as free:
            locked.send("hello\r\n")
            self.assertEqual(free.ask("hello"), "Hello world!")
            self.assertTrue(locked.is_silent(0.5))
            self.ctl("--instance", "one", "unlock")
            self.assertEqual(locked.line(), "Hello world!")

    def test_with_several_proxies_a_bare_ctl_names_them(self):
        self._instance("one", 5101, "127.0.0.1:5000")
        self._instance("two", 5102, "127.0.0.1:5000")
        done = self.host.result(["disnix-tcp-proxyctl"])
        self.assertRegex(done.stdout + done.stderr, r"(?s)one.*two")
        # The first two start nothing.
        self.assertEqual(self.ctl("connections"), "one: asleep, 0 connections\ntwo: asleep, 0 connections\n")
        self.assertEqual(json.loads(self.ctl("--json", "connections"))[1]["sleeping"]["process"], "asleep")
        self.start_server()
        with self.host.client(5102) as client:
            client.ask("hello")
            listed = self.ctl("connections").splitlines()
            self.assertEqual(listed[:3], ["one: asleep, 0 connections", "", "two: 1 connection"])
            self.assertEqual(len(listed), 5)
        self.assertIn("--instance NAME", self.host.result(["disnix-tcp-proxyctl", "unlock"]).stderr)

    def test_a_template_keeps_its_lock_over_kill_9(self):
        self.start_server()
        self._instance("one", 5101, "127.0.0.1:5000")
        self.ctl("--instance", "one", "lock")
        self.host.kill("disnix-tcp-proxy@one.service")
        self.assertIn("locked", self.ctl("--instance", "one", "--json", "status"))
