"""The clients of an upgrade: each connects, sends hello, checks the answer, and leaves."""

import collections
import selectors
import socket
import threading
import time
from dataclasses import dataclass

from lab import wait

INTERVAL = 0.02

# Longer than any upgrade in a test, in seconds.
PATIENCE = 60


@dataclass
class Served:
    """A client that got its answer; times are those of `time.monotonic`."""

    came: float
    answered: float
    answer: str

    @property
    def waited(self):
        """Seconds between its first packet and the answer."""
        return self.answered - self.came


class Load:
    """A client every 20 ms; `crowd` starts many at once.

    One thread runs them all, without a thread or process for each, so that a busy machine keeps up."""

    def __init__(self, network, address, greetings):
        self.attempted = 0
        self.served = []
        self.failures = collections.Counter()
        self._address = address
        self._greetings = greetings
        self._network = network
        self._orders = collections.deque()
        self._bell, self._bell_heard = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._clients = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def crowd(self, size):
        """Starts `count` clients at this moment."""
        self._order(size)

    def end(self):
        """Starts no more clients, and returns when all have been served or have failed."""
        if self._thread.is_alive():
            self._order(None)
            self._thread.join()

    def wait_for_one_that_came_after(self, moment):
        """Waits until such a client has been served."""
        wait.until(lambda: self.answers(moment) or self.failures,
                   "a client to be served that came later", PATIENCE)

    @property
    def longest_wait(self):
        """The waits of the served clients, in seconds."""
        return max((client.waited for client in self.served), default=0)

    def answers(self, came_after=0):
        """The counts of the answers to clients that arrived after this moment."""
        return collections.Counter(client.answer for client in list(self.served)
                                   if client.came > came_after)

    def _order(self, what):
        self._orders.append(what)
        self._bell.send(b"!")

    def _run(self):
        # All sockets of this thread are made inside the network.
        with self._network.entered():
            self._selector.register(self._bell_heard, selectors.EVENT_READ)
            due, ending = time.monotonic(), False
            while self._clients or not ending:
                now = time.monotonic()
                while not ending and due <= now:
                    self._start()
                    due += INTERVAL
                wait = 1 if ending else max(0, due - now)
                for key, _ in self._selector.select(wait):
                    if key.fileobj is self._bell_heard:
                        ending = self._follow_orders() or ending
                    else:
                        key.data.proceed()
                self._give_up_on_late_ones()
        self._selector.close()

    def _follow_orders(self):
        self._bell_heard.recv(4096)
        ending = False
        while self._orders:
            size = self._orders.popleft()
            ending = ending or size is None
            for _ in range(size or 0):
                self._start()
        return ending

    def _start(self):
        self.attempted += 1
        _Client(self).connect()

    def _give_up_on_late_ones(self):
        late = time.monotonic() - PATIENCE
        # In the order of their arrival.
        while (client := next(iter(self._clients), None)) and client.came < late:
            client.fail(f"not served within {PATIENCE} s")


class _Client:
    def __init__(self, load):
        self._load = load
        self.came = time.monotonic()
        self._received = b""
        self._next = self._hello
        self._answered = None

    def connect(self):
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._load._clients[self] = True
        self._load._selector.register(self._socket, selectors.EVENT_WRITE, self)
        try:
            self._socket.connect(self._load._address)
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail(f"connecting: {error}")

    def proceed(self):
        """The socket is readable, connected, or has failed."""
        try:
            self._next()
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail(f"{self._next.__name__.strip('_')}: {error}")

    def fail(self, why):
        """The client has failed."""
        self._load.failures[why] += 1
        self._gone()

    def _hello(self):
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, socket.errno.errorcode.get(error, error))
        self._socket.send(b"hello\r\n")
        self._load._selector.modify(self._socket, selectors.EVENT_READ, self)
        self._next = self._answer

    def _answer(self):
        data = self._socket.recv(4096)
        self._received += data
        if b"\n" not in self._received:
            if not data:
                self.fail(f"closed before the answer: {self._received!r}")
            return
        answer = self._received.decode(errors="replace").rstrip("\r\n")
        if answer not in self._load._greetings:
            self.fail(f"wrong answer: {answer!r}")
            return
        self._answered = Served(self.came, time.monotonic(), answer)
        self._socket.send(b"quit\r\n")
        self._next = self._goodbye

    def _goodbye(self):
        data = self._socket.recv(4096)
        if data:
            self.fail(f"an answer to quit: {data!r}")
            return
        self._load.served.append(self._answered)
        self._gone()

    def _gone(self):
        self._load._selector.unregister(self._socket)
        del self._load._clients[self]
        self._socket.close()


class Held(threading.Thread):
    """A client that connects before the upgrade and stays: it sends hello now and then."""

    PAUSE = 0.1

    def __init__(self, client, greeting):
        super().__init__(daemon=True)
        self._client = client
        self._greeting = greeting
        self._leaving = threading.Event()
        self.asked, self.error = 0, None
        self._ask()
        self.start()

    def leave(self):
        """Sends quit; fails if the client was disconnected before, or got a wrong answer."""
        self._leaving.set()
        self.join()
        if self.error:
            raise AssertionError(f"the client that was there before: {self.error}")

    def run(self):
        """Sends hello until the client leaves."""
        try:
            while not self._leaving.wait(self.PAUSE):
                self._ask()
            self._client.quit()
        except (OSError, AssertionError) as error:
            self.error = error

    def _ask(self):
        answer = self._client.ask()
        self.asked += 1
        if answer != self._greeting:
            raise AssertionError(f"answer {self.asked} was {answer!r}")
