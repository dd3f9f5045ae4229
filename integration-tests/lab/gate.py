"""The gate of a proxy, watched over its control socket."""

import json
import socket
import threading

from lab.errors import NotInTime

INTERFACE = "io.github.disnix-proxy-example.Proxy"


class Watch:
    """Follows every change of a proxy's state until the proxy exits."""

    def __init__(self, path):
        self._states = []
        self._seen = 0
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        call = {"method": f"{INTERFACE}.Monitor", "parameters": {}, "more": True}
        self._socket.sendall(json.dumps(call).encode() + b"\0")
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        self.wait_until(lambda status: True, "the first word of the proxy")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Ends the thread too.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    @property
    def status(self):
        """The latest state."""
        return self._states[-1]

    def wait_for(self, gate, timeout=30):
        """Waits until the gate is open, draining or locked. A further wait starts after that state."""
        self.wait_until(lambda status: status["gate"] == gate, f"the gate to be {gate}", timeout)

    def wait_until(self, condition, what, timeout=30):
        """Waits for a state that fulfils the condition, even if it is short."""
        def come():
            while self._seen < len(self._states):
                if condition(self._states[self._seen]):
                    return True
                self._seen += 1
            return False

        with self._changed:
            if not self._changed.wait_for(come, timeout):
                raise NotInTime(f"waited {timeout} s in vain for: {what}; it is {self._states[-1:]}")

    def _follow(self):
        pending = b""
        while data := self._read():
            *replies, pending = (pending + data).split(b"\0")
            with self._changed:
                self._states += [json.loads(reply)["parameters"]["status"] for reply in replies]
                self._changed.notify_all()

    def _read(self):
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""
