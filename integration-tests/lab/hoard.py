"""Descriptors in flight: sent over sockets and never received. The kernel counts them for each user, across
containers."""

import contextlib
import os
import subprocess
import sys

# The maximum of one message, SCM_MAX_FD.
AT_ONCE = 250


@contextlib.contextmanager
def hoard(uid, count):
    """Holds `count` of them for a user."""
    command = [sys.executable, "-B", __file__, str(uid), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        # It exits at the end of its input.
        assert process.stdout.readline() == b"hoarded\n"
        yield


def _hoard(uid, count):
    import resource
    import socket

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Root's are not counted.
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    pairs = []
    for first in range(0, count, AT_ONCE):
        pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        socket.send_fds(pairs[-1][0], [b"x"], [0] * min(AT_ONCE, count - first))
    print("hoarded", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _hoard(*map(int, sys.argv[1:]))
