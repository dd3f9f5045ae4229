"""Clients: a single one, a crowd that arrives in a known order, and a sequence."""

import select
import socket
import struct
import threading

TIMEOUT = 10


class Peer:
    """One end of a connection, a client's or an upstream's."""

    def __init__(self, connection, timeout=TIMEOUT):
        self.socket = connection
        self.socket.settimeout(timeout)
        self._unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @property
    def name(self):
        """Its own address, as in the other side's PEER."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, data):
        """Sends all of it."""
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def line(self):
        """The next line without its end, or the rest of the stream if that ends."""
        while b"\n" not in self._unread:
            data = self.socket.recv(65536)
            if not data:
                break
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.rstrip(b"\r").decode(errors="replace")

    def take(self, count):
        """The next bytes; fewer if the stream ends."""
        chunks, missing = [self._unread[:count]], count - len(self._unread[:count])
        self._unread = self._unread[count:]
        while missing and (chunk := self.socket.recv(min(missing, 1 << 20))):
            chunks.append(chunk)
            missing -= len(chunk)
        return b"".join(chunks)

    def rest(self):
        """Everything up to the end of the stream."""
        data, self._unread = self._unread, b""
        chunks = [data]
        while chunk := self.socket.recv(65536):
            chunks.append(chunk)
        return b"".join(chunks)

    def ask(self, line="hello"):
        """Sends a line and returns the answer."""
        return self.send(f"{line}\r\n").line()

    def quit(self):
        """Sends quit to hello-world-server and waits until it has closed the connection."""
        self.send(b"quit\r\n")
        rest = self.rest()
        self.close()
        return rest

    def finish(self):
        """Half-closes: ends the sending direction only."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        """Ends the connection with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def is_silent(self, seconds):
        """Asserts that nothing arrives within this time, neither a byte nor the end of the stream."""
        return not self._unread and not select.select([self.socket], [], [], seconds)[0]

    def is_reset(self):
        """Whether the next event is a reset (True) or the orderly end of the stream (False)."""
        try:
            data = self.rest()
        except ConnectionResetError:
            return True
        if data:
            raise AssertionError(f"expected the end of the stream, got {data[:80]!r}")
        return False

    def close(self):
        """Closes it normally."""
        self.socket.close()


def connect(network, address, timeout=TIMEOUT):
    """A client inside `network`; `address` is a (host, port) or the path of a socket."""
    if isinstance(address, tuple):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    else:
        family, address = socket.AF_UNIX, str(address)
    connection = network.socket(family)
    connection.settimeout(timeout)
    try:
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return Peer(connection, timeout)


class Crowd:
    """Many clients; each completed its handshake before the next one connected."""

    def __init__(self, network, address, size, timeout=60):
        self.clients = [connect(network, address, timeout) for _ in range(size)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.close()

    @property
    def names(self):
        """Their addresses in the order of their arrival."""
        return [client.name for client in self.clients]

    def send(self, line="hello"):
        """Sends the same line on each, without waiting for an answer."""
        for client in self.clients:
            client.send(f"{line}\r\n")
        return self

    def answers(self):
        """One line from each, or its error as text."""
        return [_answer(client) for client in self.clients]

    def is_silent(self, seconds):
        """Asserts that nothing arrives for any of them within this time."""
        poller = select.poll()
        for client in self.clients:
            poller.register(client.socket, select.POLLIN)
        return not poller.poll(seconds * 1000)


def _answer(client):
    try:
        return client.line()
    except OSError as error:
        return repr(error)


class Clients:
    """One client after the other, until the end of the `with` block."""

    def __init__(self, host, port):
        self._host, self._port = host, port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._come_and_go)
        self.served, self.failures = 0, []

    def _come_and_go(self):
        while not self._over.is_set():
            try:
                with self._host.client(self._port, timeout=20) as client:
                    answer = client.ask("hello")
                    if answer != "Hello world!":
                        raise AssertionError(f"was answered {answer!r}")
                    client.quit()
                self.served += 1
            except Exception as error:
                self.failures.append(repr(error))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
