"""Upstreams that are down, start late, refuse, or hang up."""

import threading
import time

from lab import journal, namespaces
from lab.case import HostTest

PROXY = "disnix-tcp-proxy.service"


class UpstreamTrouble(HostTest):
    def test_a_client_waits_for_an_upstream_that_is_late(self):
        self.start_proxy(connect_timeout="20s")
        with self.host.client(5001) as client:
            client.send("hello\n")
            self.assertTrue(client.is_silent(1.5))
            with self.host.echo_upstream(5000):
                self.assertEqual(client.line(), "hello")

    def test_many_clients_wait_for_an_upstream_that_is_late(self):
        self.start_proxy(connect_timeout="20s")
        with self.host.crowd(5001, 300) as crowd:
            crowd.send("hello")
            self.assertTrue(crowd.is_silent(1))
            with self.host.echo_upstream(5000):
                self.assertEqual(set(crowd.answers()), {"hello"})

    def test_when_it_stays_down_the_client_is_reset_and_the_journal_has_the_reason(self):
        self.start_proxy(connect_timeout="1s")
        started = time.monotonic()
        with self.host.client(5001) as client:
            client.send("hello\n")
            client.is_reset()
            self.assertGreater(time.monotonic() - started, 0.9)
            self.assertLess(time.monotonic() - started, 4)
            name = client.name
        entry = self.host.journal.wait(message_id=journal.UPSTREAM_UNREACHABLE, unit=PROXY)
        self.assertEqual(entry["UPSTREAM"], "127.0.0.1:5000")
        self.assertEqual(entry["PEER"], name)
        self.wait_for_open(0)

    def test_an_upstream_that_does_not_even_refuse_is_given_up_after_the_connect_timeout(self):
        away = namespaces.Network.new()
        self.addCleanup(away.close)
        away.join(self.host.network, ("away", "10.98.0.2/24"), ("lan", "10.98.0.1/24"))
        away.drop_everything()
        self.start_proxy(target="10.98.0.2:5000", connect_timeout="1s")
        started = time.monotonic()
        with self.host.client(5001) as client:
            client.send("hello\n")
            client.is_reset()
        self.assertLess(time.monotonic() - started, 6)
        self.host.journal.wait(message_id=journal.UPSTREAM_UNREACHABLE, unit=PROXY)

    def test_a_client_that_leaves_while_its_upstream_is_away_does_not_block_the_drain(self):
        self.start_proxy(connect_timeout="30s")
        with self.host.client(5001) as client:
            client.send("hello\n")
            self.wait_for_open(1)
            client.reset()
        started = time.monotonic()
        self.ctl("lock", "--timeout", "20s")
        self.assertLess(time.monotonic() - started, 5)

    def test_an_upstream_that_accepts_and_resets_resets_its_client_only(self):
        self.start_proxy()
        with self.host.upstream(5000) as upstream:
            good = self.host.client(5001)
            kept = upstream.accept()
            with self.host.client(5001) as bad:
                # A reset before the proxy has noticed the connection counts as a failed attempt; after
                # the first byte it is the end.
                bad.send("hello\n")
                served = upstream.accept()
                self.assertEqual(served.line(), "hello")
                served.reset()
                self.assertTrue(bad.is_reset())
            good.send("still here\n")
            self.assertEqual(kept.line(), "still here")

    def test_an_upstream_with_a_full_backlog_is_waited_for(self):
        self.start_proxy(connect_timeout="20s")
        with self.host.upstream(5000) as upstream:
            upstream._listener.listen(1)
            with self.host.crowd(5001, 10) as crowd:
                crowd.send("hello")
                served = threading.Thread(target=_serve, args=(upstream, 10))
                served.start()
                self.assertEqual(set(crowd.answers()), {"hello"})
                served.join()

    def test_without_a_target_clients_wait_until_there_is_one(self):
        self.start_proxy_without_target()
        with self.host.client(5001) as client, self.host.echo_upstream(6000):
            client.send("hello\n")
            self.assertTrue(client.is_silent(1))
            self.ctl("set-target", "127.0.0.1:6000")
            self.assertEqual(client.line(), "hello")

    def test_the_target_survives_restart_and_kill_9(self):
        self.start_proxy_without_target()
        self.ctl("set-target", "127.0.0.1:6000")
        with self.host.echo_upstream(6000):
            for calamity in ("restart", "kill"):
                if calamity == "kill":
                    self.host.kill(PROXY)
                else:
                    self.host.systemctl("restart", PROXY)
                with self.host.client(5001) as client:
                    self.assertEqual(client.ask("hello"), "hello")

    def test_a_fixed_target_can_not_be_changed_and_the_refusal_says_so(self):
        self.start_proxy()
        done = self.host.result(["disnix-tcp-proxyctl", "set-target", "127.0.0.1:6000"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("127.0.0.1:5000", done.stderr)

    def test_switch_drains_changes_the_target_and_opens_again(self):
        self.start_proxy_without_target()
        self.ctl("set-target", "127.0.0.1:6001")
        with self.host.upstream(6001) as old, self.host.echo_upstream(6002):
            with self.host.client(5001) as staying:
                served = old.accept()
                switch = self.host.start(["disnix-tcp-proxyctl", "switch", "127.0.0.1:6002"])
                self.wait_for_gate("draining")
                waiting = self.host.client(5001)
                waiting.send("hello\n")
                self.assertTrue(waiting.is_silent(0.5))
                served.close()
            self.assertEqual(switch.wait(), 0)
            self.assertEqual(waiting.line(), "hello")
            self.assertEqual(self.status()["target"], "127.0.0.1:6002")

    def start_proxy_without_target(self):
        """The proxy gets its target later."""
        self.host.drop_in(PROXY, "[Service]\nUnsetEnvironment=DISNIX_TCP_PROXY_TARGET\n")
        self.host.systemctl("start", "disnix-tcp-proxy.socket", "disnix-tcp-proxy-control.socket")


def _serve(upstream, count):
    for _ in range(count):
        peer = upstream.accept()
        peer.send(peer.line() + "\n")
