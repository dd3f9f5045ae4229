"""An administrator's use of systemctl, while clients come and go."""

import re

from lab import journal, wait
from lab.case import HostTest
from lab.clients import Clients

SERVER, PROXY = "hello-world-server.service", "disnix-tcp-proxy.service"


class Lifecycle(HostTest):
    def setUp(self):
        super().setUp()
        self.start_server()
        self.start_proxy()

    def test_started_means_ready(self):
        self.host.systemctl("start", SERVER, PROXY)
        for unit in (SERVER, PROXY):
            self.assertEqual(self.host.state(unit), "active")
            self.assertEqual(len(self.host.journal.entries(message_id=journal.READY, unit=unit)), 1)
        self.assertEqual(self.host.client(5001).ask("hello"), "Hello world!")

    def test_the_status_line_tells_gate_connections_queue_and_target(self):
        with self.host.client(5001) as client:
            client.ask("hello")
            self._status_says(r"(?i)open.*\b1\b.*127\.0\.0\.1:5000")
            self.lock_in_background()
            self.wait_for_gate("draining")
            self._status_says(r"(?i)draining.*\b1\b")

    def _status_says(self, pattern):
        wait.until(lambda: re.search(pattern, self.host.show(PROXY, "StatusText")),
                   f"a status line like {pattern}", timeout=3)

    def test_restart_of_the_idle_services_loses_none_of_the_clients_that_come_and_go(self):
        with Clients(self.host, 5001) as clients:
            for unit in (PROXY, SERVER) * 3:
                self.host.systemctl("restart", unit)
        self.assertEqual(clients.failures, [])
        self.assertGreater(clients.served, 0)

    def without_keeping(self, **options):
        """Connections end with the process, so a stop waits for their end."""
        self.host.configure("disnix-tcp-proxy", target="127.0.0.1:5000", keep_connections="no", **options)

    def test_stop_lets_open_connections_finish_and_the_next_client_starts_it_again(self):
        self.without_keeping()
        for unit, port in ((SERVER, 5000), (PROXY, 5001)):
            with self.subTest(unit), self.host.client(port) as client:
                self.assertEqual(client.ask("hello"), "Hello world!")
                stop = self.host.start(["systemctl", "stop", unit])
                self.host.wait_for_state(unit, "deactivating")
                self.host.journal.wait(message_id=journal.STOPPING, unit=unit)
                self.assertEqual(client.ask("hello"), "Hello world!")
                self.assertTrue(stop.is_running())
                client.quit()
                self.assertEqual(stop.wait(), 0)
                self.assertEqual(self.host.show(unit, "Result"), "success")
                with self.host.client(port) as next_client:
                    self.assertEqual(next_client.ask("hello"), "Hello world!")

    def test_a_connection_that_never_ends_delays_stop_by_the_drain_timeout_only(self):
        self.without_keeping(drain_timeout="1s")
        with self.host.client(5001) as client:
            client.ask("hello")
            self.host.systemctl("stop", PROXY, timeout=8)
            self.assertEqual(self.host.show(PROXY, "Result"), "success")

    def test_a_drain_longer_than_the_stop_timeout_of_the_unit_is_not_cut_short(self):
        self.host.drop_in(PROXY, "[Service]\nTimeoutStopSec=2s\n")
        self.without_keeping(drain_timeout="20s")
        with self.host.client(5001) as client:
            client.ask("hello")
            stop = self.host.start(["systemctl", "stop", PROXY])
            self.assertTrue(client.is_silent(4))
            self.assertEqual(client.ask("hello"), "Hello world!")
            client.quit()
            self.assertEqual(stop.wait(), 0)

    def test_reload_keeps_process_and_connections_and_reads_the_target_again(self):
        self.host.configure("disnix-tcp-proxy")
        with self.host.upstream(6001) as old, self.host.upstream(6002) as new:
            self.ctl("set-target", "127.0.0.1:6001")
            pid = self.host.main_pid(PROXY)
            with self.host.client(5001) as staying, old.accept() as served:
                state = self.host.run(["sh", "-c", "echo /var/lib/private/disnix-tcp-proxy/*/target"])
                self.host.write(state.strip(), "127.0.0.1:6002\n")
                self.host.systemctl("reload", PROXY)
                # Before systemd 253 it does not wait until the proxy has done it.
                self.host.journal.wait(message_id=journal.TARGET_CHANGED, upstream="127.0.0.1:6002", unit=PROXY)
                with self.host.client(5001), new.accept():
                    self.assertEqual(self.host.main_pid(PROXY), pid)
                    staying.send("still here\n")
                    self.assertEqual(served.line(), "still here")

    def test_a_second_sigterm_ends_the_drain_at_once(self):
        self.without_keeping()
        with self.host.client(5001) as client:
            client.ask("hello")
            stop = self.host.start(["systemctl", "stop", PROXY])
            self.host.journal.wait(message_id=journal.STOPPING, unit=PROXY)
            self.host.kill(PROXY, "TERM")
            self.assertEqual(stop.wait(5), 0)

    def test_the_watchdog_replaces_a_proxy_that_hangs(self):
        self.host.drop_in(PROXY, "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\n")
        self.assertEqual(self.host.client(5001).ask("hello"), "Hello world!")
        hanging = self.host.main_pid(PROXY)
        self.host.kill(PROXY, "STOP")
        with self.host.client(5001, timeout=20) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        self.assertNotEqual(self.host.main_pid(PROXY), hanging)

    def test_the_watchdog_spares_a_proxy_that_has_nothing_to_do(self):
        self.host.drop_in(PROXY, "[Service]\nWatchdogSec=1s\n")
        self.host.systemctl("start", PROXY)
        pid = self.host.main_pid(PROXY)
        with self.host.client(5001) as client:
            client.ask("hello")
            self.assertTrue(client.is_silent(3))
        self.assertEqual(self.host.main_pid(PROXY), pid)
        self.ctl("lock")
        with self.host.client(5001) as client:
            self.assertTrue(client.is_silent(3))
        self.assertEqual(self.host.main_pid(PROXY), pid)
