"""Metrics of all proxies, from the shipped units: by hand, by Prometheus, and by systemd-report."""

import json
import subprocess
import unittest

from lab import case, dashboard, prerequisites, prometheus
from lab.case import HostTest


class Metrics(HostTest):
    def setUp(self):
        super().setUp()
        self.start_proxy()
        self.host.systemctl("start", "disnix-tcp-proxy-metrics.socket")

    def scrape(self):
        with self.host.client(9549) as client:
            client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head, _, text = client.rest().decode().partition("\r\n\r\n")
        self.assertTrue(head.startswith("HTTP/1.0 200 "), head)
        self.assertTrue(text.endswith("\n# EOF\n"), text)
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    def test_a_proxy_that_sleeps_is_seen_and_not_started(self):
        self.ctl("lock")
        self.host.systemctl("stop", "disnix-tcp-proxy.service")
        found = self.scrape()
        self.assertEqual(found['disnix_tcp_proxy_process{proxy="default",state="asleep"}'], "1")
        # The lock belongs to another user.
        self.assertEqual(found['disnix_tcp_proxy_gate{proxy="default",state="locked"}'], "1")
        self.assertIn('disnix_tcp_proxy_lock_start_time_seconds{proxy="default"}', found)
        self.assertEqual(self.host.state("disnix-tcp-proxy.service"), "inactive")

    def test_kills_and_drains_are_counted(self):
        self.start_server()
        with self.host.client(5001) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
            self.host.kill("disnix-tcp-proxy.service")
            self.assertEqual(client.ask("hello"), "Hello world!")
            found = self.scrape()
            self.assertEqual(found['disnix_tcp_proxy_kills_survived_total{proxy="default"}'], "1")
            self.assertEqual(found['disnix_tcp_proxy_connections_restored_total{proxy="default"}'], "1")
            self.assertEqual(found['disnix_tcp_proxy_connections_open{proxy="default"}'], "1")
            client.quit()
        self.ctl("lock")
        found = self.scrape()
        self.assertEqual(found['disnix_tcp_proxy_drain_duration_seconds_count{proxy="default"}'], "1")


@case.only_on("257")
class ByPrometheus(HostTest):
    def test_prometheus_has_what_the_proxy_says_and_alerts(self):
        server = prometheus.watch(self)
        with self.host.client(5001) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
            server.wait_for("disnix_tcp_proxy_connections_open", self.status()["open"])
            accepted = self.status()["accepted"]
            self.assertEqual(server.value('disnix_tcp_proxy_connections_accepted_total{proxy="default"}'), accepted)
            # Only OpenMetrics says the units.
            units = {entry["unit"] for name, entries in server.ask("metadata").items()
                     for entry in entries if name.startswith("disnix_tcp_proxy_sent_bytes")}
            self.assertEqual(units, {"bytes"})
            self.assertIsNone(server.value('ALERTS{alertstate="firing"}'))
            self.host.kill("disnix-tcp-proxy.service")
            self.assertEqual(client.ask("hello"), "Hello world!")
            server.wait_for('ALERTS{alertname="ProxyKilled",alertstate="firing"}', 1)
            server.wait_for("disnix_tcp_proxy_connections_restored_total", 1)
            # The next process knows nothing of the target until it connects a client.
            with self.host.client(5001) as another:
                self.assertEqual(another.ask("hello"), "Hello world!")
                another.quit()
            server.wait_for("disnix_tcp_proxy_upstream_reachable", 1)
            self.ctl("lock", "--close-idle", "100ms")
            server.wait_for('disnix_tcp_proxy_gate{state="locked"}', 1)
        panels = json.loads(dashboard.FILE.read_text())
        for panel, query, _ in dashboard.queries(panels, "1m"):
            with self.subTest(panel=panel["title"], query=query):
                self.assertTrue(server.ask("query", query=query)["result"])


@case.only_on(case.NO_SYSTEMD)
class AlertingRules(unittest.TestCase):
    def test_the_alerting_rules_are_right_and_each_alert_fires_when_it_should(self):
        directory = prerequisites.PROJECT / "doc/monitoring"
        for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
            done = subprocess.run([prometheus.program("promtool"), *arguments],
                                  cwd=directory, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        rules, tests = [(directory / name).read_text() for name in ("alerts.yml", "alerts.test.yml")]
        for line in rules.splitlines():
            kind, _, name = line.strip(" -").partition(": ")
            if kind == "alert":
                self.assertIn(name, tests)


@case.only_on(case.NEWEST)
class BySystemd(HostTest):
    INTERFACE = "io.github.disnix-proxy-example.Proxy"

    def report(self, *arguments):
        """What systemd-report prints, which must have no objection."""
        command = ["/usr/lib/systemd/systemd-report", "--json=short", *arguments, self.INTERFACE]
        done = self.host.result(command)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        # Values may begin with a record separator (RFC 7464).
        lines = done.stdout.replace("\x1e", "\n").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def test_systemd_report_shows_our_metrics(self):
        self.start_proxy()
        self.host.systemctl("start", "disnix-tcp-proxy-metrics.socket")
        self.assertIn(self.INTERFACE, self.host.run(["/usr/lib/systemd/systemd-report", "list-sources"]))
        for state in ("asleep", "running"):
            values = {metric["name"].rsplit(".", 1)[1]: metric["value"] for metric in self.report("metrics")}
            self.assertEqual(values["Process"], state)
            self.status()
        self.assertEqual(values["Gate"], "open")
        kinds = {family["name"].rsplit(".", 1)[1]: family["type"] for family in self.report("describe")}
        self.assertLessEqual(values.keys(), kinds.keys())
        self.assertEqual(kinds["SentBytes"], "counter")
        self.assertEqual(kinds["Gate"], "string")
