"""Everything reaches the other side: bytes, the end of the stream, a reset."""

import hashlib
import os
import threading

from lab.case import HostTest


class Relay(HostTest):
    def setUp(self):
        super().setUp()
        self.upstream = self.host.upstream(5000)
        self.addCleanup(self.upstream.close)
        self.start_proxy()
        self.client = self.host.client(5001)
        self.served = self.upstream.accept()
        self.addCleanup(self.client.close)
        self.addCleanup(self.served.close)
        # The relay has started when a line has passed in each direction.
        self.client.send("knock")
        self.assertEqual(self.served.socket.recv(5), b"knock")
        self.served.send("enter")
        self.assertEqual(self.client.socket.recv(5), b"enter")

    def test_the_client_half_closes_and_still_gets_the_answer(self):
        self.client.send("question").finish()
        self.assertEqual(self.served.rest(), b"question")
        self.served.send("answer").close()
        self.assertEqual(self.client.rest(), b"answer")

    def test_the_upstream_half_closes_and_still_hears_the_client(self):
        self.served.send("greeting").finish()
        self.assertEqual(self.client.rest(), b"greeting")
        self.client.send("thanks").close()
        self.assertEqual(self.served.rest(), b"thanks")

    def test_half_closed_connections_still_count_until_both_sides_are_done(self):
        self.client.finish()
        self.assertEqual(self.served.rest(), b"")
        self.assertEqual(self.status()["open"], 1)
        self.served.close()
        self.wait_for_open(0)

    def test_a_reset_by_the_client_becomes_a_reset_at_the_upstream(self):
        self.client.reset()
        self.assertTrue(self.served.is_reset())

    def test_a_reset_by_the_upstream_becomes_a_reset_at_the_client(self):
        self.served.reset()
        self.assertTrue(self.client.is_reset())

    def test_what_was_sent_before_a_reset_by_the_client_is_delivered(self):
        self.client.send("last words")
        self.assertEqual(self.served.socket.recv(100), b"last words")
        self.client.reset()
        self.assertTrue(self.served.is_reset())

    def test_what_was_sent_before_a_reset_by_the_upstream_is_delivered(self):
        self.served.send("last words")
        self.assertEqual(self.client.socket.recv(100), b"last words")
        self.served.reset()
        self.assertTrue(self.client.is_reset())

    def test_many_megabytes_arrive_unchanged_in_both_directions_at_once(self):
        data = os.urandom(1 << 20) * 20
        received = {}

        def pump(name, source, sink):
            def send():
                source.send(data).finish()
            sender = threading.Thread(target=send)
            sender.start()
            received[name] = hashlib.sha256(sink.rest()).hexdigest()
            sender.join()

        both = [threading.Thread(target=pump, args=("up", self.client, self.served)),
                threading.Thread(target=pump, args=("down", self.served, self.client))]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        whole = hashlib.sha256(data).hexdigest()
        self.assertEqual(received, {"up": whole, "down": whole})

    def test_an_upstream_that_does_not_read_holds_the_client_back_and_fills_no_memory(self):
        pid = self.host.main_pid("disnix-tcp-proxy.service")
        self.client.socket.setblocking(False)
        sent = 0
        try:
            while sent < 200 << 20:
                sent += self.client.socket.send(b"x" * 65536)
        except BlockingIOError:
            pass
        self.assertLess(sent, 100 << 20)
        memory = int(self.host.process_status(pid)["VmRSS"].split()[0])
        self.assertLess(memory, 40_000, "kB of memory while one connection is stuck")
