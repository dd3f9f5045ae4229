"""HTTP clients that keep their connection and repeat no request, and short ones that come and go.

Each reply must name its request, and be of no older version than the last one."""

import itertools
import random
import threading
import time

TIMEOUT = 60
# The share of POST, and its longest body.
POSTS, BODY = 0.25, 20_000


class Wrong(AssertionError):
    """A reply to another request, or of an older version."""


class Lost(Exception):
    """A connection ended before a reply was complete."""


def get(name):
    """A request."""
    return f"GET {name} HTTP/1.1\r\nHost: service\r\n\r\n"


def post(name, length):
    """A request with a body."""
    return f"POST {name} HTTP/1.1\r\nHost: service\r\nContent-Length: {length}\r\n\r\n{'x' * length}"


def head(client):
    """The status and the headers of a reply."""
    status, headers = client.line(), {}
    while line := client.line():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip().lower()
    if not status or not headers:
        raise Lost("an end before the body")
    return status, headers


def body(client, headers):
    """The body of a reply."""
    if headers.get("transfer-encoding") != "chunked":
        return _whole(client, int(headers["content-length"]))
    chunks = b""
    while length := int(client.line(), 16):
        chunks += _whole(client, length)
        client.line()
    client.line()
    return chunks


def _whole(client, length):
    data = client.take(length)
    if len(data) < length:
        raise Lost("an end in the body")
    return data


def version_of(client, method, name):
    """Reads a reply, which must be to this request; returns the version of the service, and whether it keeps the
    connection."""
    status, headers = head(client)
    text = body(client, headers).decode().strip()
    version, _, named = text.partition(" ")
    if status.split()[1] != "200" or named != f"{method} {name}":
        raise Wrong(f"{method} {name} was answered {status!r}, {text!r}")
    return int(version[1:]), headers.get("connection") != "close"


class UnrepeatingClients:
    """`count` clients that stay, every fourth of which pauses for up to a second between two requests, and two
    that connect for each request. `failed` are the requests without a reply, `wrong` what must never be."""

    def __init__(self, host, port, count):
        self._host, self._port = host, port
        self._over, self._lock = threading.Event(), threading.Lock()
        self._least = 1
        self.served, self.posts, self.connections = 0, 0, 0
        self.failed, self.wrong = [], []
        self._threads = [threading.Thread(target=self._run, args=(self._stay, number)) for number in range(count)]
        self._threads += [threading.Thread(target=self._run, args=(self._come_and_go, count + number))
                          for number in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def expect(self, version):
        """Every request that begins from now on must be answered by this version or a later one."""
        self._least = version

    def wait_for_more(self, requests, timeout=60):
        """Waits until this number of further requests was answered."""
        wanted, deadline = self.served + requests, time.monotonic() + timeout
        while self.served < wanted and not self.wrong:
            if time.monotonic() > deadline:
                raise AssertionError(f"{wanted - self.served} requests are not answered; failed: {self.failed[:3]}")
            time.sleep(0.02)

    def __str__(self):
        lost = [method for method, *_ in self.failed]
        return (f"{self.served} requests, {self.posts} of them POST; failed: {lost.count('GET')} GET, "
                f"{lost.count('POST')} POST")

    def _run(self, client, number):
        try:
            client(number, random.Random(number))
        except Exception as error:
            self.wrong.append(repr(error))

    def _stay(self, number, dice):
        client, version = None, 0
        for count in itertools.count():
            if self._over.is_set():
                break
            if client is None:
                client = self._host.client(self._port, timeout=TIMEOUT)
                with self._lock:
                    self.connections += 1
            version, is_kept = self._ask(client, f"/{number}/{count}", dice, version)
            if not is_kept:
                client.close()
                client = None
            self._over.wait(dice.uniform(0, 1 if number % 4 == 0 else 0.05))
        if client is not None:
            client.close()

    def _come_and_go(self, number, dice):
        for count in itertools.count():
            if self._over.wait(0.02):
                return
            with self._host.client(self._port, timeout=TIMEOUT) as client:
                self._ask(client, f"/{number}/{count}", dice, 0)

    def _ask(self, client, name, dice, version):
        """The version that has answered last, and whether the connection is kept."""
        version = max(version, self._least)
        method = "POST" if dice.random() < POSTS else "GET"
        request = post(name, dice.randrange(BODY)) if method == "POST" else get(name)
        began = time.monotonic()
        try:
            reply, is_kept = version_of(client.send(request), method, name)
        except (OSError, Lost) as error:
            with self._lock:
                self.failed.append((method, name, repr(error), f"after {time.monotonic() - began:.3f} s", time.time()))
            return version, False
        if reply < version:
            raise Wrong(f"{method} {name} was answered by version {reply} after version {version}")
        with self._lock:
            self.served += 1
            self.posts += method == "POST"
        return reply, is_kept
