"""Hostile and broken clients."""

import contextlib
import json
import os
import socket

from lab import wait
from lab.case import HostTest

PROXY, SERVER = "disnix-tcp-proxy.service", "hello-world-server.service"
CONTROL = "/run/disnix-tcp-proxy/default/control"
INTERFACE = "io.github.disnix-proxy-example.Proxy"
MEMORY_LIMIT = 60_000  # kB


class HostileControl(HostTest):
    """They cost a limited amount, and disturb neither data nor other control clients."""

    def setUp(self):
        super().setUp()
        self.start_server()
        self.start_proxy()
        self.host.systemctl("start", PROXY)
        self.pid = self.host.main_pid(PROXY)
        self.data = self.host.client(5001)
        self.addCleanup(self.data.close)
        self.data.ask("hello")

    def tearDown(self):
        self.assertEqual(self.host.main_pid(PROXY), self.pid, "it must not have died")
        self.assertEqual(self.data.ask("hello"), "Hello world!")
        with self.host.client(5001) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        wait.until(lambda: self.status()["gate"] == "open", "control to answer")
        peak = int(self.host.process_status(self.pid)["VmHWM"].split()[0])
        self.assertLess(peak, MEMORY_LIMIT, "kB of memory at the peak")

    def _control(self):
        return self.host.unix_client(CONTROL)

    def test_garbage(self):
        for garbage in (os.urandom(4096) + b"\0", b"\0" * 1000, b"{}\0", b"[1,2]\0", b"null\0",
                        b'{"method":1}\0', b'{"method":"no.such.Method"}\0', b"\xff\xfe\0",
                        b'{"method":"%s.Lock","parameters":[]}\0' % INTERFACE.encode(),
                        b'{"method":"%s.Lock","parameters":{"leaseUSec":-1}}\0' % INTERFACE.encode(),
                        b"[" * 60000 + b"\0", b"GET / HTTP/1.1\r\n\r\n"):
            with self._control() as caller:
                _send_anyway(caller, garbage)
                _finish_anyway(caller)
                _read_anyway(caller)

    def test_half_a_message(self):
        callers = [self._control().send(b'{"method":"io.github') for _ in range(20)]
        self.assertEqual(self.status()["gate"], "open")
        for caller in callers:
            caller.close()

    def test_a_message_of_100_megabytes(self):
        with self._control() as caller:
            for _ in range(100):
                if not _send_anyway(caller, b"x" * (1 << 20)):
                    break
            _read_anyway(caller)

    def test_a_thousand_connections(self):
        callers = []
        try:
            for _ in range(1000):
                callers.append(self._control())
        except (BlockingIOError, TimeoutError):
            pass  # It may let them wait, but must not be affected.
        for caller in callers:
            caller.close()
        self.assertGreater(len(callers), 100)

    def test_one_that_never_reads(self):
        call = json.dumps({"method": f"{INTERFACE}.Monitor", "more": True}).encode() + b"\0"
        with self._control() as deaf:
            deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.send(call)
            for _ in range(100):
                with self.host.client(5001) as client:
                    client.ask("hello")
            for _ in range(10):
                self.ctl("set-target", "127.0.0.1:5000", check=False)
            self.assertEqual(self.status()["gate"], "open")

    def test_one_that_asks_a_million_times_and_never_reads(self):
        call = json.dumps({"method": f"{INTERFACE}.GetStatus"}).encode() + b"\0"
        with self._control() as deaf:
            deaf.socket.settimeout(1)
            for _ in range(1000):
                if not _send_anyway(deaf, call * 1000):
                    break
            self.assertEqual(self.status()["gate"], "open")

    def test_one_that_comes_and_goes_with_a_waiting_lock(self):
        call = json.dumps({"method": f"{INTERFACE}.Lock", "more": True, "parameters": {}}).encode()
        for _ in range(100):
            with self._control() as caller:
                caller.send(call + b"\0")
                self.assertIn("draining", caller.socket.recv(4096).decode())
        self.wait_for_gate("open")


class HostileBytes(HostTest):
    """To hello-world-server, directly."""

    def setUp(self):
        super().setUp()
        self.start_server()
        self.host.systemctl("start", SERVER)
        self.pid = self.host.main_pid(SERVER)

    def tearDown(self):
        self.assertEqual(self.host.main_pid(SERVER), self.pid, "it must not have died")
        with self.host.client(5000) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        peak = int(self.host.process_status(self.pid)["VmHWM"].split()[0])
        self.assertLess(peak, MEMORY_LIMIT, "kB of memory at the peak")

    def test_an_unknown_word_is_answered_with_one_line_and_the_next_is_served(self):
        with self.host.client(5000) as client:
            self.assertRegex(client.ask("HELO"), r"hello.*quit")
            self.assertEqual(client.ask("hello"), "Hello world!")

    def test_line_ends_of_all_kinds(self):
        with self.host.client(5000) as client:
            client.send(b"hello\nhello\r\nhel").send(b"lo\r").send(b"\nquit\n")
            self.assertEqual(client.rest(), b"Hello world!\r\n" * 3)

    def test_a_line_that_is_too_long_is_answered_and_the_connection_closed(self):
        with self.host.client(5000) as client:
            client.send(b"x" * 1025 + b"\n")
            answer = client.rest()
            self.assertEqual(answer.count(b"\n"), 1, answer)

    def test_a_line_without_an_end_is_cut_off(self):
        with self.host.client(5000) as client:
            for _ in range(64):
                if not _send_anyway(client, b"x" * (1 << 20)):
                    break
            _read_anyway(client)

    def test_bytes_that_are_not_utf_8_are_answered_and_the_connection_closed(self):
        with self.host.client(5000) as client:
            client.send(b"\xff\xfe\xfd\n")
            answer = client.rest()
            self.assertEqual(answer.count(b"\n"), 1, answer)

    def test_noughts_control_characters_and_random_bytes(self):
        for data in (b"\0" * 500 + b"\n", b"\x1b[2J\x07\n", os.urandom(100_000)):
            with self.host.client(5000) as client:
                _send_anyway(client, data)
                _finish_anyway(client)
                _read_anyway(client)

    def test_a_flood_of_calls_without_reading_the_answers(self):
        with self.host.client(5000) as deaf:
            deaf.socket.settimeout(1)
            for _ in range(200):
                if not _send_anyway(deaf, b"hello\n" * 20_000):
                    break

    def test_a_thousand_silent_clients(self):
        with self.host.crowd(5000, 1000):
            with self.host.client(5000) as client:
                self.assertEqual(client.ask("hello"), "Hello world!")


def _send_anyway(peer, data):
    """Sends, and returns whether the other side still accepts it."""
    try:
        peer.send(data)
    except OSError:
        return False
    return True


def _finish_anyway(peer):
    """Half-closes, unless the other side has closed first."""
    with contextlib.suppress(OSError):
        peer.finish()


def _read_anyway(peer):
    """Reads until an end of any kind; an open and silent connection has not ended."""
    with contextlib.suppress(ConnectionError):
        peer.rest()
