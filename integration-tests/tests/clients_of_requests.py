"""Clients that keep their connection while the service is replaced behind it, where requests can be told apart.

They repeat nothing, and a quarter of their requests are POST."""

import contextlib
import hashlib

from lab import wait
from lab.case import HostTest, heavy
from lab.disturbances import KillMain
from lab.service import Service
from lab.subjects import Ours
from lab.unrepeating import UnrepeatingClients, get, head, version_of
from lab.web_services import PORT as TARGET
from lab.web_services import Nginx, PythonHttp

PORT = 5001
CLIENTS = 20
UPGRADES = 5
MANY = 300


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

    def killing(self):
        """Kills the proxy three times a second."""
        service = Service(self.host, Ours.unit, Ours.program)
        return KillMain(self.host, service).meanwhile()


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

    def test_a_download_that_is_under_way_is_complete_before(self):
        self.start(PythonHttp(self.host))
        with self.host.client(PORT, timeout=60) as downloading, self.host.client(PORT) as staying:
            self.assertEqual(version_of(staying.send(get("/before")), "GET", "/before"), (1, True))
            _, headers = head(downloading.send(get("/download/200")))
            lock = self.lock_in_background("--timeout", "60s", "--", *self.service.next_version())
            self.wait_for_gate("draining")
            wait.until(lambda: self.status()["detached"] == 1, "the other client to be detached")
            staying.send(get("/after"))
            self.assertTrue(lock.is_running())
            length = int(headers["content-length"])
            wanted = hashlib.sha256(bytes(range(256)) * (length // 256))
            self.assertEqual(length, 200 * 2**20)
            self.assertEqual(hashlib.sha256(downloading.take(length)).digest(), wanted.digest())
            self.assertEqual(lock.wait(timeout=60), 0)
            self.assertEqual(version_of(staying, "GET", "/after"), (2, True))
            self.assertEqual(version_of(downloading.send(get("/next")), "GET", "/next"), (2, True))

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
    """A service exits while its clients stay."""

    @heavy
    def test_hundreds_of_clients_stay_and_each_is_served_by_a_service_that_is_started_for_it(self):
        PythonHttp.socket_activated(self.host, idle=0.3)
        self.start_proxy(target=f"127.0.0.1:{TARGET}", requests="http", detach_idle="300ms")
        with contextlib.ExitStack() as ends:
            clients = [ends.enter_context(self.host.client(PORT, timeout=60)) for _ in range(MANY)]
            for times in range(2):
                for number, client in enumerate(clients):
                    client.send(get(f"/{number}/{times}"))
                for number, client in enumerate(clients):
                    version_of(client, "GET", f"/{number}/{times}")
                self.host.wait_for_state("web.service", "inactive", timeout=60)
                status = self.status()
                self.assertEqual((status["open"], status["detached"]), (0, MANY))
