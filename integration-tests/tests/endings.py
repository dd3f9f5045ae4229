"""An abnormal end is a reset, even if systemd closes the last descriptor."""

from lab import wait
from lab.keeping import PROXY
from tests.keeping import PORT, ByHand

SOCKETS = ("disnix-tcp-proxy.socket", "disnix-tcp-proxy-control.socket")


class Endings(ByHand):
    def ends(self):
        """Three connections: in the middle of both directions; with a complete answer; and with a complete
        upload."""
        pairs = [self.connect(), self.another(), self.another()]
        for client, served in pairs:
            client.send("half of an upload")
            self.assertEqual(served.socket.recv(17), b"half of an upload")
            served.send("half of an answer")
            self.assertEqual(client.socket.recv(17), b"half of an answer")
        (_, _), (client, served), (uploader, receiver) = pairs
        served.finish()
        self.assertEqual(client.rest(), b"")
        uploader.finish()
        self.assertEqual(receiver.rest(), b"")
        return pairs

    def assert_ends(self, pairs):
        (client, served), (whole, cut), (uploader, receiver) = pairs
        self.assertTrue(client.is_reset(), "the client")
        self.assertTrue(served.is_reset(), "the upstream")
        self.assertTrue(cut.is_reset(), "the upstream of a client that has its whole answer")
        self.assertFalse(whole.is_reset(), "a client that has its whole answer")
        self.assertTrue(uploader.is_reset(), "the client of an upstream that has the whole upload")
        self.assertFalse(receiver.is_reset(), "an upstream that has the whole upload")

    def test_a_stop_of_the_service(self):
        pairs = self.ends()
        self.host.systemctl("stop", PROXY)
        self.assert_ends(pairs)

    def test_a_stop_of_the_sockets(self):
        pairs = self.ends()
        self.host.systemctl("stop", *SOCKETS)
        self.assert_ends(pairs)

    def test_a_stop_after_a_restart_and_a_kill(self):
        pairs = self.ends()
        self.host.systemctl("restart", PROXY)
        self.kill()
        self.host.systemctl("stop", PROXY)
        self.assert_ends(pairs)

    def test_a_store_that_is_taken_away(self):
        pairs = self.ends()
        self.host.drop_in(PROXY, "[Service]\nFileDescriptorStoreMax=0\n", name="revert")
        self.host.systemctl("restart", PROXY)
        self.assert_ends(pairs)

    def test_a_stop_while_there_is_no_process(self):
        pairs = self.ends()
        self.leave_nobody_for_a_second()
        self.host.systemctl("stop", *SOCKETS, PROXY)
        self.assert_ends(pairs)

    def test_a_kill_where_nothing_is_kept(self):
        pairs = self._ends_without_keeping()
        self.kill()
        self.assert_ends(pairs)

    def test_a_drain_timeout_where_nothing_is_kept(self):
        pairs = self._ends_without_keeping()
        self.host.systemctl("stop", PROXY)
        self.assert_ends(pairs)

    def _ends_without_keeping(self):
        self.start_proxy(keep_connections="no", drain_timeout="0")
        self.connect = lambda: self.another()
        return self.ends()

    def test_what_a_slow_client_has_yet_to_read_outlives_the_copies_of_its_socket(self):
        self.start_proxy()
        slow, served = self.another()
        slow.finish()
        self.assertEqual(served.rest(), b"")
        # More than the buffers of a client that does not read.
        served.socket.sendall(b"7" * 150_000)
        served.close()
        self.wait_for_open(0)
        # Enough to recycle the lot with the ended ones.
        for _ in range(300):
            client = self.host.client(PORT)
            other = self.upstream.accept()
            client.close()
            other.close()
        self.wait_for_open(0)
        self.host.systemctl("stop", PROXY)
        wait.until(lambda: self.stored() == 0, "the store to be empty")
        self.assertEqual(len(slow.rest()), 150_000)
