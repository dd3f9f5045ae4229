"""Metrics of all proxies over HTTP, from the shipped units."""

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
