"""The picture of the dashboard: two minutes of a proxy with visitors, a kill, an upgrade and a service that is away."""

import threading
import time

from lab import dashboard, prometheus
from lab.case import HostTest, only_on
from lab.dashboard import Span

VISITORS = 8
CAPTION = ("Drawn by integration-tests/measure -k dashboard, not by Grafana: dashboard.json, with the values of a "
           "Prometheus that has scraped a proxy.")


class _Visitors:
    """Clients that come, ask ten times and leave, again and again."""

    def __init__(self, host):
        self._host = host
        self._over = threading.Event()
        self.problems = []
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(VISITORS)]
        for thread in self._threads:
            thread.start()

    def _visit(self):
        try:
            while not self._over.is_set():
                with self._host.client(5001, timeout=60) as client:
                    for _ in range(10):
                        client.ask("hello")
                        self._over.wait(0.1)
                    client.quit()
        except Exception as problem:
            self.problems.append(problem)

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()


@only_on("257")
class Dashboard(HostTest):
    def test_the_dashboard_is_drawn(self):
        server = prometheus.watch(self)
        began = time.time()
        visitors = _Visitors(self.host)
        self._two_minutes()
        span = Span(began, time.time(), 1)
        rate_interval = f"{4 * prometheus.SCRAPE_INTERVAL}s"

        def ask_range(query):
            return server.ask("query_range", query=query, start=span.start, end=span.end, step=span.step)["result"]

        picture = dashboard.draw(ask_range, span, rate_interval, CAPTION)
        self.ctl("unlock")
        visitors.stop()
        self.assertEqual(visitors.problems, [])
        dashboard.PICTURE.write_text(picture)
        print(f"written: {dashboard.PICTURE}")

    def _two_minutes(self):
        """What the panels show. The pauses are what is measured: a Prometheus needs them to see anything."""
        time.sleep(25)
        self.host.kill("disnix-tcp-proxy.service")
        time.sleep(20)
        self.ctl("lock", "--reason", "version 2")
        self.host.systemctl("restart", "hello-world-server.service")
        time.sleep(12)
        self.ctl("unlock")
        time.sleep(25)
        # A stop without a lock would cut the visitors who are connected.
        self.ctl("lock", "--reason", "the service is away", "--", "systemctl", "stop", "hello-world-server.socket",
                 "hello-world-server.service")
        time.sleep(8)
        self.host.systemctl("start", "hello-world-server.socket")
        time.sleep(20)
        self.ctl("lock", "--reason", "version 3")
        time.sleep(10)
