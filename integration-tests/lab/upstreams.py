"""Upstreams in the test's own process, with sockets of the host's network."""

import collections
import selectors
import socket
import threading

from lab.clients import TIMEOUT, Peer


class Upstream:
    """Listens; the test accepts and answers every connection."""

    def __init__(self, network, port, backlog=4096, address="127.0.0.1"):
        self._listener = network.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(backlog)
        self._listener.settimeout(TIMEOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def accept(self):
        """The next connection."""
        return Peer(self._listener.accept()[0])

    def close(self):
        """From now on connections are refused."""
        self._listener.close()


class EchoUpstream:
    """Answers every line of every connection with the same line, in a thread of its own."""

    def __init__(self, network, port, backlog=4096):
        self.accepted = 0
        self._upstream = Upstream(network, port, backlog)
        self._upstream._listener.setblocking(False)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it with all its connections."""
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._upstream.close()

    def _serve(self):
        unsent = collections.defaultdict(bytes)
        with selectors.DefaultSelector() as selector:
            selector.register(self._stopped, selectors.EVENT_READ)
            selector.register(self._upstream._listener, selectors.EVENT_READ)
            while True:
                for key, events in selector.select():
                    if key.fileobj is self._stopped:
                        return self._close_all(selector)
                    if key.fileobj is self._upstream._listener:
                        self._accept(selector)
                    else:
                        _echo(selector, key.fileobj, events, unsent)

    def _accept(self, selector):
        try:
            connection, _ = self._upstream._listener.accept()
        except OSError:
            return
        self.accepted += 1
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)

    def _close_all(self, selector):
        for key in list(selector.get_map().values()):
            if key.fileobj not in (self._stopped, self._upstream._listener):
                key.fileobj.close()


def _echo(selector, connection, events, unsent):
    try:
        if events & selectors.EVENT_READ:
            data = connection.recv(65536)
            if not data and not unsent[connection]:
                raise ConnectionError
            unsent[connection] += data
        unsent[connection] = unsent[connection][connection.send(unsent[connection]):]
    except BlockingIOError:
        pass
    except OSError:
        selector.unregister(connection)
        unsent.pop(connection, None)
        connection.close()
        return
    writing = selectors.EVENT_WRITE if unsent[connection] else 0
    selector.modify(connection, selectors.EVENT_READ | writing)


class Away:
    """New connections to a port are refused, as without a listener; existing ones continue, and no client is lost
    at the change."""

    def __init__(self, network, port):
        self._network = network
        network.run("nft", "-f", "-", input=f"""
            table inet away {{
                chain input {{
                    type filter hook input priority 0;
                    tcp dport {port} tcp flags & (syn | ack) == syn reject with tcp reset
                }}
            }}
        """)

    def is_back(self):
        """From now on they are accepted again."""
        self._network.run("nft", "delete", "table", "inet", "away")
