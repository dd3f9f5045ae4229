"""Clients that keep their connections and send a request now and then, as pools and browsers do."""

import random
import threading
import time

from lab.clients import Peer

TIMEOUT = 60


class Http:
    """GET / of a service that replies with its version."""

    request = b"GET / HTTP/1.1\r\nHost: service\r\n\r\n"

    @staticmethod
    def reply(client):
        """The version, and whether the service keeps the connection; None at an end before the reply."""
        status = client.line()
        if not status:
            return None
        headers = {}
        while header := client.line():
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip().lower()
        if status.split()[1] != "200":
            raise AssertionError(f"was answered {status!r}")
        return int(client.line()), headers.get("connection") != "close"


class Redis:
    """PING."""

    request = b"PING\r\n"

    @staticmethod
    def reply(client):
        """As that of HTTP, with the version 0."""
        line = client.line()
        if line and line != "+PONG":
            raise AssertionError(f"was answered {line!r}")
        return (0, True) if line else None


class StayingClients:
    """Each keeps its connection, and pauses between two requests for at most `pause` seconds.

    A connection that ends before a reply begins is replaced once, and the request repeated, as every client does
    that keeps connections: the service may have ended it just before. `ended` counts that."""

    def __init__(self, host, port, protocol, count, pause):
        self._host, self._port, self._protocol, self._pause = host, port, protocol, pause
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.served, self.ended, self.failures = 0, 0, []
        self._threads = [threading.Thread(target=self._stay, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, requests, timeout=60):
        """Waits until this number of further requests was answered."""
        wanted, deadline = self.served + requests, time.monotonic() + timeout
        while self.served < wanted and not self.failures:
            if time.monotonic() > deadline:
                raise AssertionError(f"{wanted - self.served} requests are not answered")
            time.sleep(0.02)

    def _stay(self, number):
        dice, client, version = random.Random(number), None, 0
        try:
            while not self._over.is_set():
                client, reply = self._ask(client)
                if reply < version:
                    raise AssertionError(f"version {reply} after version {version}")
                version = reply
                with self._lock:
                    self.served += 1
                self._over.wait(dice.uniform(0, self._pause))
        except Exception as error:
            self.failures.append(repr(error))
        finally:
            if client is not None:
                client.close()

    def _ask(self, client: Peer | None):
        """The connection after a request, if the service keeps it, and the reply."""
        is_reused = client is not None
        client = client or self._host.client(self._port, timeout=TIMEOUT)
        try:
            reply = self._protocol.reply(client.send(self._protocol.request))
        except (BrokenPipeError, ConnectionResetError):
            reply = None
        if reply is None:
            client.close()
            if not is_reused:
                raise AssertionError("a new connection ended before its reply")
            with self._lock:
                self.ended += 1
            return self._ask(None)
        version, is_kept = reply
        if not is_kept:
            client.close()
        return (client if is_kept else None), version
