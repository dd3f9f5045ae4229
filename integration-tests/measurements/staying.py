"""Ten replacements of every service behind clients that keep their connection, as a table: with a lock, with a lock
while the proxy is killed, and without one; and of nginx under wrk.

The services that no test needs are in a root of their own, which is made when it is needed."""

import contextlib

from lab import case, roots
from lab.case import only_on
from lab.unrepeating import UnrepeatingClients
from lab.web_services import Aiohttp, Apache, Gunicorn, Nginx, Node, PythonHttp, Uvicorn
from tests.clients_of_requests import CLIENTS, PORT, RequestsTest

UPGRADES = 10
HEAD = "| service | replaced | upgrades | requests | of them POST | failed GET | failed POST | wrong |"


@only_on("252")
class Staying(RequestsTest):
    def setUp(self):
        more = [package for service in (Aiohttp, Apache, Gunicorn, Node, Uvicorn) for package in service.packages]
        root = roots.root(case.surroundings.version, tuple(more))
        self.host = self.boot(layers=[*case.surroundings.layers[:-1], root])

    def _measure(self, service):
        self.start(service(self.host))
        print(f"{HEAD}\n|---|---|---|---|---|---|---|---|")
        self._row(service, "with a lock", "systemctl restart", self.locked)
        self._row(service, "with a lock, proxy killed", "systemctl restart", self.locked, self.killing)
        self._row(service, "restarted", "systemctl restart", self.host.run)
        self._row(service, "killed", service.kill, self.host.run)

    def _row(self, service, what, how, through, meanwhile=contextlib.nullcontext):
        upgrades = case.times(UPGRADES)
        with UnrepeatingClients(self.host, PORT, CLIENTS) as clients:
            self.upgrade(clients, upgrades, how, through, meanwhile)
        lost = [method for method, *_ in clients.failed]
        print(f"| {service.__name__} | {what} | {upgrades} | {clients.served} | {clients.posts} | {lost.count('GET')} "
              f"| {lost.count('POST')} | {len(clients.wrong)} |")
        for one in clients.wrong[:3] + sorted(clients.failed)[:3]:
            print(f"  {one}")

    def test_nginx(self):
        self._measure(Nginx)

    def test_http_server(self):
        self._measure(PythonHttp)

    def test_apache(self):
        self._measure(Apache)

    def test_gunicorn(self):
        self._measure(Gunicorn)

    def test_uvicorn(self):
        self._measure(Uvicorn)

    def test_aiohttp(self):
        self._measure(Aiohttp)

    def test_node(self):
        self._measure(Node)


@only_on("252")
class UnderWrk(RequestsTest):
    def test_nginx(self):
        self.under_wrk(case.times(UPGRADES))

    def test_nginx_while_the_proxy_is_killed(self):
        self.under_wrk(case.times(UPGRADES), self.killing)
