"""Network namespaces, which a thread enters to make a socket.

A socket always belongs to the namespace that it was made in, so clients and upstreams are plain sockets of the
test's own process, but inside the booted host. Nothing here has a name in the file system: when the test's
process ends, the kernel removes all of it.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function, *arguments):
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def leave_mount_namespace():
    """Hides further mounts of this process and its children from all others."""
    _call(_libc.unshare, CLONE_NEWNS)
    subprocess.run(["mount", "--make-rslave", "/"], check=True)


def die_with_parent(signal_number):
    """For a child between fork and exec: ties a host to the test that boots it."""
    _call(_libc.prctl, PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)


class Network:
    """A network namespace."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    @classmethod
    def of_process(cls, pid):
        """The namespace of a process."""
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls):
        """A new one, made by a thread that has left this process's namespace."""
        made = []

        def leave():
            _call(_libc.unshare, CLONE_NEWNET)
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        if not made:
            raise OSError("could not make a network namespace")
        network = cls(made[0])
        network.run("ip", "link", "set", "lo", "up")
        return network

    @contextlib.contextmanager
    def entered(self):
        """Moves the calling thread, and no other one, into it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.setns, self._descriptor, CLONE_NEWNET)
            yield
        finally:
            _call(_libc.setns, home, CLONE_NEWNET)
            os.close(home)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        """A socket in this namespace."""
        with self.entered():
            return socket.socket(family, kind)

    def run(self, *command, input=None):
        """Runs a command of this machine (not of the host's) inside the namespace."""
        with self.entered():
            return subprocess.run(
                command, input=input, check=True, text=True, capture_output=True
            ).stdout

    def join(self, other, here, there):
        """Links two namespaces; `here` and `there` are (interface, address/prefix)."""
        self._add_cable(here[0], other, there[0])
        for network, (interface, address) in ((self, here), (other, there)):
            network.run("ip", "address", "add", address, "dev", interface)
            network.run("ip", "link", "set", interface, "up")

    def add_bridge(self, name, address):
        """A switch for links, with an address of this namespace."""
        self.run("ip", "link", "add", name, "type", "bridge", "forward_delay", "0")
        self.run("ip", "address", "add", address, "dev", name)
        self.run("ip", "link", "set", name, "up")

    def plug_in(self, bridge, plug, other, there):
        """Links a bridge of this namespace to `there`, an (interface, address/prefix) of
        another one."""
        self._add_cable(plug, other, there[0])
        self.run("ip", "link", "set", plug, "master", bridge, "up")
        other.run("ip", "address", "add", there[1], "dev", there[0])
        other.run("ip", "link", "set", there[0], "up")

    def _add_cable(self, here, other, there):
        theirs = f"/proc/self/fd/{other._descriptor}"
        with self.entered():
            subprocess.run(
                ["ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", theirs],
                check=True, pass_fds=[other._descriptor],
            )

    def drop_everything(self):
        """Drops all further packets of this namespace, also FIN and RST."""
        self.run("nft", "-f", "-", input="""
            table inet vanished {
                chain input { type filter hook input priority 0; policy drop; }
                chain output { type filter hook output priority 0; policy drop; }
            }
        """)

    def close(self):
        """Leaves the namespace, which ends with its last socket."""
        os.close(self._descriptor)
