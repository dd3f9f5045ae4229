"""The units of the NixOS module on a real systemd, and the effect of a `nixos-rebuild switch` on clients."""

import json
import threading

from lab import journal, wait
from lab.case import HostTest, only_on
from lab.nix import Nix
from lab.nixos import Switch, System

PROXY = "disnix-tcp-proxy@web.service"
SOCKET = "disnix-tcp-proxy@web.socket"
CONTROL = "disnix-tcp-proxy-control@web.socket"
REOPEN = "disnix-tcp-proxy-reopen-web.service"
LOCK = "disnix-tcp-proxy-lock-web.service"
INETD = "disnix-tcp-proxy-inetd@web.service"
CATALOG = "disnix-tcp-proxy-catalog.service"
SERVER = "hello-world-server.service"
PORT = 5101
HELLO, AGAIN = "Hello world!", "Hello again!"


def configuration(greeting=HELLO, **options):
    """A machine with the server behind a proxy."""
    proxy = {"listen": [PORT], "target": "127.0.0.1:5000", **options}
    return {"services": {
        "disnix-tcp-proxy": {"instances": {"web": proxy}},
        "hello-world-server": {"enable": True, "listen": ["127.0.0.1:5000"], "greeting": greeting},
    }}


class Load:
    """A client every 20 ms that sends hello and reads the answer; until it is stopped."""

    def __init__(self, host, port=PORT):
        self.answers = []
        self._host, self._port = host, port
        self._lock, self._clients = threading.Lock(), []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._enough.wait(0.02):
            client = threading.Thread(target=self._hello)
            client.start()
            self._clients.append(client)

    def _hello(self):
        try:
            with self._host.client(self._port, timeout=60) as client:
                answer = client.ask("hello")
        except OSError as error:
            answer = repr(error)
        with self._lock:
            self.answers.append(answer)

    def wait_for(self, answer):
        """Waits until a client has got this answer."""
        wait.until(lambda: answer in self.answers, answer)

    def stop(self):
        """Starts no more clients, and waits until all have their answer."""
        self._enough.set()
        self._thread.join()
        for client in self._clients:
            client.join()
        return self.answers


class NixosTest(HostTest):
    needs_package = True

    def setUp(self):
        super().setUp()
        self.nix = Nix()
        self.switch = Switch(self.host)

    def system(self, changed=False, **options):
        return System(self.nix, configuration(**options), changed)

    def web(self, *arguments):
        return self.ctl("--instance", "web", *arguments)

    def wait_for_gate(self, gate, timeout=10):
        wait.until(lambda: json.loads(self.web("--json", "status", "--wake"))["gate"] == gate, gate, timeout)

    def load(self):
        load = Load(self.host)
        self.addCleanup(load.stop)
        load.wait_for(HELLO)
        return load

    def ask(self, port=PORT):
        with self.host.client(port) as client:
            return client.ask("hello")

    def assert_refused(self, port):
        with self.assertRaises(ConnectionRefusedError):
            self.host.client(port)


class Units(NixosTest):
    # The differences between an instance here and one of the shipped template: its files, the paths of
    # programs, the module's settings, and the start at boot.
    ORIGIN = {"FragmentPath", "DropInPaths", "UnitFileState"}
    SERVICE = ORIGIN | {"Environment", "ExecStart", "ExecStartEx", "ExecReload", "ExecReloadEx", "ExecPaths"}
    SOCKET = ORIGIN | {"Listen", "WantedBy", "Before"}

    def properties(self, unit):
        """The properties of a unit, without the name of the instance."""
        shown = self.host.run(["systemctl", "show", "--all", unit])
        name = unit.partition("@")[2].partition(".")[0]
        if name:
            shown = shown.replace(name, "NAME")
        pairs = (line.split("=", 1) for line in shown.splitlines() if "=" in line)
        # Lists of units come in any order.
        return {name: sorted(value.split()) for name, value in pairs}

    def assert_same(self, one, other, allowed):
        differing = {name for name in one | other if one.get(name) != other.get(name)}
        self.assertEqual({name: (one.get(name), other.get(name)) for name in differing - allowed}, {})

    def system(self, **options):
        """With a program for clients, too."""
        described = configuration(**options)
        described["services"]["disnix-tcp-proxy-inetd"] = {"web": {"command": "/bin/cat"}}
        return System(self.nix, described)

    def test_an_instance_has_the_hardening_and_all_else_of_the_shipped_template(self):
        self.host.drop_in("disnix-tcp-proxy@plain.socket", f"[Socket]\nListenStream={PORT + 1}\n")
        self.switch.activate(self.system(exitIdleTime="infinity"))
        for unit, allowed in (("disnix-tcp-proxy@{}.service", self.SERVICE),
                              ("disnix-tcp-proxy@{}.socket", self.SOCKET),
                              ("disnix-tcp-proxy-control@{}.socket", self.SOCKET),
                              ("disnix-tcp-proxy-inetd@{}.service", self.SERVICE),
                              ("disnix-tcp-proxy-inetd@{}.socket", self.SOCKET)):
            with self.subTest(unit):
                plain, web = (self.properties(unit.format(name)) for name in ("plain", "web"))
                self.assert_same(plain, web, allowed)
        service = self.properties(PROXY)
        self.assertEqual((service["DynamicUser"], service["ProtectSystem"]), (["yes"], ["strict"]))

    def test_the_server_has_all_of_the_shipped_unit(self):
        shipped = self.properties(SERVER)
        self.switch.activate(self.system(greeting=AGAIN))
        self.assert_same(shipped, self.properties(SERVER), self.SERVICE)

    def test_systemd_analyze_verify_has_nothing_to_say(self):
        self.switch.activate(self.system(backlog=512, drainTimeout="1min"))
        done = self.host.result(["systemd-analyze", "verify", "--man=no", PROXY, SOCKET, CONTROL, REOPEN,
                                 SERVER, "hello-world-server.socket", "hello-world-server-reopen.service",
                                 INETD, INETD.replace("service", "socket"), INETD.replace("@", "-pause@"), CATALOG])
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))


class Starting(NixosTest):
    def test_the_first_client_starts_what_it_needs(self):
        self.switch.to(self.system(greeting="100 % \"free\" \\ ö"))
        for unit in (SOCKET, CONTROL, REOPEN):
            self.assertEqual(self.host.state(unit), "active")
        for unit in (PROXY, SERVER):
            self.assertEqual(self.host.state(unit), "inactive")
        self.assertEqual(self.ask(), "100 % \"free\" \\ ö")

    def test_without_a_target_clients_wait_for_one(self):
        self.switch.to(self.system(target=None))
        with self.host.client(PORT) as client:
            client.send("hello\r\n")
            self.web("set-target", "127.0.0.1:5000")
            self.assertEqual(client.line(), HELLO)

    def test_a_fixed_target_cannot_be_set(self):
        self.switch.to(self.system())
        done = self.host.result(["disnix-tcp-proxyctl", "--instance=web", "set-target", "127.0.0.1:1"])
        self.assertEqual(done.returncode, 1)


    @only_on("257")  # SYSTEMD_CATALOG_SOURCES is new in systemd 254.
    def test_the_journal_can_explain_our_events(self):
        self.host.run(["rm", "/var/lib/systemd/catalog/database"])
        self.switch.to(self.system())
        for message_id in (journal.LOCKED, "8d45620c1a4348dbb17410da57c60c66"):
            self.assertIn("Subject: ", self.host.run(["journalctl", "--dump-catalog", message_id]))


class Switching(NixosTest):
    def test_under_lock_everything_is_upgraded_and_no_client_fails(self):
        self.switch.to(self.system())
        new = self.system(changed=True, greeting=AGAIN, keepalive="30s")
        load = self.load()
        with self.host.client(PORT) as held:
            self.assertEqual(held.ask("hello"), HELLO)
            lock = self.host.start(
                ["disnix-tcp-proxyctl", "--instance=web", "lock", "--timeout=infinity"])
            self.wait_for_gate("draining")
            with self.host.crowd(PORT, 100) as crowd:
                crowd.send("hello")
                self.assertEqual(held.ask("hello"), HELLO, "who is connected is not cut")
                held.quit()
                self.assertEqual(lock.wait(), 0)
                done = self.switch.to(new)
                self.assertEqual(done["restart"], {PROXY, SERVER})
                self.assertEqual(done["stop"] | done["reload"] | done["start"], {CATALOG})
                self.web("unlock")
                self.assertEqual(set(crowd.answers()), {AGAIN})
        load.wait_for(AGAIN)
        self.assertEqual(set(load.stop()), {HELLO, AGAIN})

    def test_without_a_lock_clients_that_arrive_in_between_wait(self):
        self.switch.to(self.system())
        new = self.system(changed=True, greeting=AGAIN, keepalive="30s")
        load = self.load()
        self.switch.to(new)
        load.wait_for(AGAIN)
        self.assertEqual(set(load.stop()), {HELLO, AGAIN})

    def test_what_is_not_running_is_left_alone(self):
        self.switch.to(self.system())
        self.assertEqual(self.ask(), HELLO)
        self.host.systemctl("stop", PROXY, SERVER)
        done = self.switch.to(self.system(greeting=AGAIN, keepalive="30s"))
        self.assertEqual(set().union(*done.values()), set())
        self.assertEqual(self.ask(), AGAIN)

    def test_the_same_configuration_again_changes_nothing(self):
        self.switch.to(self.system())
        load = self.load()
        pid = self.host.main_pid(PROXY)
        done = self.switch.to(self.system())
        self.assertEqual(set().union(*done.values()), set())
        self.assertEqual(self.host.main_pid(PROXY), pid)
        self.assertEqual(set(load.stop()), {HELLO})

    def test_another_address(self):
        self.switch.to(self.system())
        self.assertEqual(self.ask(), HELLO)
        done = self.switch.to(self.system(listen=[PORT + 1, "127.0.0.1:5103"]))
        self.assertEqual(done["reload"], {REOPEN})
        self.assertEqual({self.ask(PORT + 1), self.ask(5103)}, {HELLO})
        self.assert_refused(PORT)

    def test_without_opening_it_again_a_socket_with_another_address_would_not_work(self):
        """The reason for a unit that reopens the socket."""
        self.switch.to(self.system())
        self.switch.activate(self.system(listen=[PORT + 1]))
        self.assert_refused(PORT)
        self.assert_refused(PORT + 1)
        self.host.systemctl("reload", REOPEN)
        self.assertEqual(self.ask(PORT + 1), HELLO)

    def test_a_proxy_that_is_removed_is_gone(self):
        self.switch.to(self.system())
        self.assertEqual(self.ask(), HELLO)
        without = configuration()
        without["services"]["disnix-tcp-proxy"]["instances"] = {}
        done = self.switch.to(System(self.nix, without))
        self.assertEqual(done["stop"], {PROXY, SOCKET, CONTROL, REOPEN})
        self.assert_refused(PORT)
        with self.assertRaises(OSError):
            self.host.unix_client("/run/disnix-tcp-proxy/web/control")
        self.assertEqual(self.ask(5000), HELLO)


class Locking(NixosTest):
    """instances.NAME.lock.services: services behind the proxy are replaced under lock."""

    APP = "hello-world-server-plain"

    @staticmethod
    def app(greeting=HELLO, program="hello-world-server"):
        return {
            "wantedBy": ["multi-user.target"],
            "environment": {"HELLO_WORLD_SERVER_GREETING": greeting,
                            "HELLO_WORLD_SERVER_DRAIN_TIMEOUT": "100ms"},
            "serviceConfig": {"Type": "notify", "ExecStart": f"/usr/bin/{program} 5010"},
        }

    def system(self, changed=False, greeting=HELLO, program="hello-world-server", **lock):
        web = {"listen": [PORT], "target": "127.0.0.1:5010", "connectTimeout": "100ms",
               "lock": {"services": [self.APP], **lock}}
        return System(self.nix, {
            "services": {"disnix-tcp-proxy": {"instances": {"web": web}}},
            "systemd": {"services": {self.APP: self.app(greeting, program)}},
        }, changed)

    def in_background(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_a_switch_waits_for_connected_clients_and_new_ones_wait_for_it(self):
        self.start()
        load = self.load()
        with self.host.client(PORT) as held:
            self.assertEqual(held.ask("hello"), HELLO)
            switching = self.in_background(self.switch.to, self.system(greeting=AGAIN, changed=True))
            self.wait_for_gate("draining")
            with self.host.crowd(PORT, 100) as crowd:
                crowd.send("hello")
                self.assertEqual(held.ask("hello"), HELLO, "who is connected is not cut")
                self.assertTrue(switching.is_alive())
                held.quit()
                switching.join()
                self.assertEqual(set(crowd.answers()), {AGAIN})
        load.wait_for(AGAIN)
        self.assertEqual(set(load.stop()), {HELLO, AGAIN})

    def test_when_the_new_version_does_not_start_clients_wait_for_the_rollback(self):
        self.start()
        load = self.load()
        self.switch.to(self.system(program="no-such-program"))
        self.assertEqual(self.host.state(f"{self.APP}.service"), "failed")
        with self.host.client(PORT) as client:
            client.send("hello\r\n")
            self.assertTrue(client.is_silent(0.5))
            self.switch.to(self.system())
            self.assertEqual(client.line(), HELLO)
        self.assertEqual(set(load.stop()), {HELLO})

    def start(self, **options):
        """Switches, and waits until the proxy has been unlocked for the first time."""
        self.switch.to(self.system(**options))
        self.host.wait_for_state(LOCK, "active")

    def locked(self):
        """The number of locks so far."""
        return len(self.host.journal.entries(message_id=journal.LOCKED, unit=PROXY))

    def test_the_lease_ends_the_wait(self):
        self.start(lease="1s")
        self.host.systemctl("stop", f"{self.APP}.service")
        self.wait_for_gate("locked")
        self.wait_for_gate("open")

    def test_who_does_not_leave_in_time_is_cut(self):
        self.start(timeout="500ms")
        with self.host.client(PORT) as held:
            self.assertEqual(held.ask("hello"), HELLO)
            self.host.systemctl("restart", f"{self.APP}.service")
            self.assertTrue(held.is_reset())
        self.assertEqual(self.ask(), HELLO)

    def test_a_proxy_that_is_idle_is_started_for_the_lock(self):
        self.start()
        self.host.systemctl("stop", PROXY)
        self.host.systemctl("restart", f"{self.APP}.service", timeout=10)
        self.wait_for_gate("open")
        self.assertEqual(self.locked(), 1)
        self.assertEqual(self.ask(), HELLO)

    def test_when_the_service_ends_by_itself_nothing_is_locked(self):
        self.start()
        self.host.kill(f"{self.APP}.service", "TERM")
        self.host.wait_for_state(f"{self.APP}.service", "inactive")
        self.assertEqual((self.locked(), self.host.state(LOCK)), (0, "active"))

    def test_a_proxy_that_is_removed_with_its_service_or_without_is_gone(self):
        both = self.system()
        for services in ({self.APP: self.app()}, {self.APP: self.app(AGAIN)}, {}):
            with self.subTest(services=services):
                self.switch.to(both)
                self.host.wait_for_state(LOCK, "active")
                self.assertEqual(self.ask(), HELLO)
                done = self.switch.to(System(self.nix, {"systemd": {"services": services}}))
                self.assertNotIn(LOCK, done["stop"])
                self.assert_refused(PORT)
                self.assertEqual(self.host.state(PROXY), "inactive")

    def test_other_changes_lock_nothing(self):
        self.start()
        with self.host.client(PORT) as held:
            held.ask("hello")
            done = self.switch.to(self.system(lease="1min"))
            self.assertEqual(set().union(*done.values()), set())
            self.assertEqual(self.locked(), 0)

    def test_systemd_analyze_verify_has_nothing_to_say(self):
        self.start()
        done = self.host.result(["systemd-analyze", "verify", "--man=no", LOCK])
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
