"""Clients whose machine or link is gone, without a FIN or RST."""

import socket
import threading
import time

from lab import clients, journal, namespaces, upstreams
from lab.case import HostTest

INSIDE, OUTSIDE = "10.99.0.1", "10.99.0.2"


class Vanishing(HostTest):
    def setUp(self):
        super().setUp()
        self.away = namespaces.Network.new()
        self.addCleanup(self.away.close)
        self.away.join(self.host.network, ("away", f"{OUTSIDE}/24"), ("lan", f"{INSIDE}/24"))
        self.upstream = self.host.upstream(5000)
        self.addCleanup(self.upstream.close)
        self.start_proxy(keepalive="2s")

    def _lock_within(self, seconds):
        started = time.monotonic()
        self.ctl("lock", "--timeout", "30s")
        self.assertLess(time.monotonic() - started, seconds)
        entry = self.host.journal.wait(message_id=journal.PEER_GONE)
        self.assertIn(OUTSIDE, entry["PEER"])

    def test_an_idle_one_blocks_the_drain_no_longer_than_the_keepalive(self):
        with clients.connect(self.away, (INSIDE, 5001)), self.upstream.accept():
            self.away.drop_everything()
            self._lock_within(6)

    def test_one_with_data_in_flight_towards_it_neither(self):
        with clients.connect(self.away, (INSIDE, 5001)), self.upstream.accept() as served:
            self.away.drop_everything()
            served.send(b"lost" * 1000)
            self._lock_within(6)

    def test_one_that_still_owes_a_megabyte_of_reading_neither(self):
        with clients.connect(self.away, (INSIDE, 5001)), self.upstream.accept() as served:
            served.socket.setblocking(False)
            self.away.drop_everything()
            try:
                while True:
                    served.socket.send(b"x" * 65536)
            except BlockingIOError:
                pass
            self._lock_within(6)

    def test_one_that_is_alive_but_reads_nothing_for_a_while_is_not_taken_for_gone(self):
        with clients.connect(self.away, (INSIDE, 5001)) as client, self.upstream.accept() as served:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sent = b"x" * (32 << 20)
            sender = threading.Thread(target=lambda: served.send(sent).finish())
            sender.start()
            # Its window is closed for longer than the keepalive; its kernel answers all the same.
            time.sleep(6)
            self.assertEqual(len(client.rest()), len(sent))
            sender.join()
            client.send("alive\n")
            self.assertEqual(served.line(), "alive")

    def test_one_that_is_alive_but_silent_is_not_taken_for_gone(self):
        with clients.connect(self.away, (INSIDE, 5001)) as client, self.upstream.accept() as served:
            self.assertTrue(client.is_silent(6))
            client.send("alive\n")
            self.assertEqual(served.line(), "alive")

    def test_a_vanished_upstream_blocks_the_drain_no_longer_than_the_keepalive(self):
        far = upstreams.Upstream(self.away, 7000, address=OUTSIDE)
        self.addCleanup(far.close)
        self.host.configure("disnix-tcp-proxy", target=f"{OUTSIDE}:7000", keepalive="2s")
        self.host.systemctl("restart", "disnix-tcp-proxy.service")
        with self.host.client(5001) as client, far.accept():
            self.away.drop_everything()
            client.send("into the void")
            started = time.monotonic()
            self.ctl("lock", "--timeout", "30s")
            self.assertLess(time.monotonic() - started, 6)
