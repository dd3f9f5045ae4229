"""Clients that keep their connection while the service is replaced behind it, where requests can be told apart.

They repeat nothing, and a quarter of their requests are POST."""

import contextlib
import time

from lab import wait
from lab.case import HostTest, heavy
from lab.disturbances import KillMain
from lab.service import Service
from lab.subjects import Ours
from lab.unrepeating import UnrepeatingClients, get, head, version_of
from lab.web_services import PORT as TARGET
from lab.web_services import Nginx, PythonHttp
from lab.wrk import Wrk

PORT = 5001
CLIENTS = 20
UPGRADES = 5
MANY = 1000
BLOCK = bytes(range(256)) * 4096
GIGABYTE = 1024


class RequestsTest(HostTest):
    """`requests=http` before a service of version 1."""

    def start(self, service, **options):
        service.start()
        self.service = service
        self.start_proxy(target=f"127.0.0.1:{TARGET}", requests="http", **options)

    def locked(self, command):
        done = self.host.result(["disnix-tcp-proxyctl", "lock", "--timeout", "30s", "--", *command])
        self.assertEqual(done.returncode, 0, done.stderr)

    def replace(self, how, through, meanwhile=contextlib.nullcontext):
        """Replaces the service repeatedly under load."""
        with UnrepeatingClients(self.host, PORT, CLIENTS) as clients:
            self.upgrade(clients, UPGRADES, how, through, meanwhile)
        print(f"{UPGRADES} times: {clients}; {self.status().get('repeated', 0)} repeated")
        self.assertEqual(clients.wrong, [])
        return clients

    def upgrade(self, clients, times, how, through, meanwhile=contextlib.nullcontext):
        """Replaces the service this often, while clients ask it."""
        clients.wait_for_more(5 * CLIENTS)
        with meanwhile():
            for _ in range(times):
                through(self.service.next_version(how))
                clients.expect(self.service.version)
                clients.wait_for_more(5 * CLIENTS)

    def assert_nobody_has_noticed(self, clients):
        self.assertEqual(clients.failed, [])
        self.assertEqual(clients.connections, CLIENTS)
        self.wait_for_open(0)

    def assert_only_posts_have_failed(self, clients):
        self.assertEqual([failed for failed in clients.failed if failed[0] != "POST"], [])

    @contextlib.contextmanager
    def killing(self):
        """Kills the proxy three times a second."""
        killer = KillMain(self.host, Service(self.host, Ours.unit, Ours.program))
        with killer.meanwhile():
            yield
        print(f"the proxy was killed {killer.kills} times")
        self.assertGreater(killer.kills, 1)

    def under_wrk(self, upgrades=UPGRADES, meanwhile=contextlib.nullcontext):
        """Replaces nginx repeatedly under wrk, and beside it under clients that check what they are told."""
        self.start(Nginx(self.host))
        with Wrk(self.host, PORT, CLIENTS) as wrk, UnrepeatingClients(self.host, PORT, CLIENTS) as clients:
            self.upgrade(clients, upgrades, "systemctl restart", self.locked, meanwhile)
        print(f"{upgrades} times: {wrk}; beside it {clients}")
        self.assertEqual((wrk.failed, clients.failed, clients.wrong), ([], [], []))
        self.assertGreater(wrk.served, upgrades * CLIENTS)

    def download(self, blocks, meanwhile=contextlib.nullcontext):
        """Replaces the service while a client is sent this many MiB, and another one waits for its next reply."""
        self.start(PythonHttp(self.host))
        with self.host.client(PORT, timeout=300) as downloading, self.host.client(PORT, timeout=300) as staying:
            self.assertEqual(version_of(staying.send(get("/before")), "GET", "/before"), (1, True))
            _, headers = head(downloading.send(get(f"/download/{blocks}")))
            self.assertEqual(int(headers["content-length"]), blocks * len(BLOCK))
            lock = self.lock_in_background("--timeout", "10min", "--", *self.service.next_version())
            self.wait_for_gate("draining")
            wait.until(lambda: self.status()["detached"] == 1, "the other client to be detached")
            staying.send(get("/after"))
            self.assertTrue(lock.is_running())
            with meanwhile():
                for number in range(blocks):
                    self.assertTrue(downloading.take(len(BLOCK)) == BLOCK, f"block {number} is another one")
                self.assertEqual(lock.wait(timeout=600), 0)
                self.assertEqual(version_of(staying, "GET", "/after"), (2, True))
                self.assertEqual(version_of(downloading.send(get("/next")), "GET", "/next"), (2, True))

    def stay(self, count, meanwhile=contextlib.nullcontext):
        """This many clients speak, and the service exits while they stay; twice, and then they speak once more."""
        PythonHttp.socket_activated(self.host, idle=0.3)
        self.start_proxy(target=f"127.0.0.1:{TARGET}", requests="http", detach_idle="1s")
        began = time.monotonic()
        with contextlib.ExitStack() as ends:
            clients = [ends.enter_context(self.host.client(PORT, timeout=300)) for _ in range(count)]
            with meanwhile():
                for times in range(2):
                    self.all_are_answered(clients, times)
                    self.host.wait_for_state("web.service", "inactive", timeout=300)
                    self.assertEqual(self.host.main_pid("web.service"), 0)
                    status = self.status()
                    self.assertEqual((status["open"], status["detached"]), (0, count))
                self.all_are_answered(clients, "last")
        print(f"{count} clients have spoken three times, in {time.monotonic() - began:.1f} s")

    def all_are_answered(self, clients, times):
        """All ask at once."""
        for number, client in enumerate(clients):
            client.send(get(f"/{number}/{times}"))
        for number, client in enumerate(clients):
            self.assertEqual(version_of(client, "GET", f"/{number}/{times}"), (1, True))


class Locks(RequestsTest):
    """No request fails."""

    @heavy
    def test_nginx(self):
        self.start(Nginx(self.host))
        self.assert_nobody_has_noticed(self.replace("systemctl restart", self.locked))

    @heavy
    def test_nginx_while_the_proxy_is_killed(self):
        self.start(Nginx(self.host))
        self.assert_nobody_has_noticed(self.replace("systemctl restart", self.locked, self.killing))

    @heavy
    def test_nginx_under_wrk(self):
        self.under_wrk()

    @heavy
    def test_nginx_under_wrk_while_the_proxy_is_killed(self):
        self.under_wrk(meanwhile=self.killing)

    @heavy
    def test_a_service_that_ends_at_once(self):
        self.start(PythonHttp(self.host))
        self.assert_nobody_has_noticed(self.replace("systemctl restart", self.locked))


class WithoutLock(RequestsTest):
    """No request fails but POST, some of which may have been carried out."""

    @heavy
    def test_restarts_of_nginx(self):
        self.start(Nginx(self.host))
        self.assert_only_posts_have_failed(self.replace("systemctl restart", self.host.run))

    @heavy
    def test_kills_of_nginx(self):
        self.start(Nginx(self.host))
        self.assert_only_posts_have_failed(self.replace(Nginx.kill, self.host.run))


class Drains(RequestsTest):
    """What a lock waits for."""

    @heavy
    def test_a_download_that_is_under_way_is_complete_before(self):
        self.download(GIGABYTE)

    @heavy
    def test_a_download_that_is_under_way_is_complete_before_while_the_proxy_is_killed(self):
        self.download(GIGABYTE, self.killing)

    def test_a_websocket_holds_it_up_and_is_shown(self):
        self.start(PythonHttp(self.host))
        with self.host.client(PORT) as upgraded:
            self.assertIn("101", head(upgraded.send(get("/websocket")))[0])
            self.assertEqual(upgraded.ask("frame"), "frame")
            self.assertIn("upgraded to websocket", self.ctl("connections"))
            # On a terminal.
            lock = self.host.result(["script", "-qec", "disnix-tcp-proxyctl lock --timeout 1s", "/dev/null"])
            self.assertEqual(lock.returncode, 3, lock.stdout)
            self.assertIn("1 connection cannot be detached: upgraded to websocket", lock.stdout)
            self.assertEqual(upgraded.ask("frame"), "frame")


class Idle(RequestsTest):
    """A service exits and uses nothing, while its clients stay."""

    @heavy
    def test_a_thousand_clients_stay_and_each_is_served_by_a_service_that_is_started_for_it(self):
        self.stay(MANY)

    @heavy
    def test_a_thousand_clients_stay_while_the_proxy_is_killed(self):
        self.stay(MANY, self.killing)
