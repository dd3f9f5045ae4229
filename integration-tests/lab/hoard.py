"""What the kernel counts for each user, across containers: descriptors in flight, which are sent over sockets and
never received, and the pages of pipes."""

import contextlib
import fcntl
import os
import resource
import socket
import subprocess
import sys

# The maximum of one message, SCM_MAX_FD.
AT_ONCE = 250
# The most that an unprivileged pipe has by default, in bytes.
LARGE_PIPE = 1024 * 1024


@contextlib.contextmanager
def hoard(uid, count):
    """Holds `count` of them for a user."""
    with _holder("descriptors", uid, count):
        yield


@contextlib.contextmanager
def hoard_of_pipes(uid):
    """Holds as many pages of pipes as an unprivileged user may have: the next pipes have two pages each."""
    with _holder("pipes", uid):
        yield


@contextlib.contextmanager
def _holder(what, uid, *arguments):
    command = [sys.executable, "-B", __file__, what, str(uid), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        # It exits at the end of its input.
        assert process.stdout.readline() == b"hoarded\n"
        yield


def _descriptors(count):
    pairs = []
    for first in range(0, count, AT_ONCE):
        pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        socket.send_fds(pairs[-1][0], [b"x"], [0] * min(AT_ONCE, count - first))
    return pairs


def _pipes():
    with open("/proc/sys/fs/pipe-user-pages-soft", "rb") as file:
        pages = int(file.read())
    pipes = []
    # Each takes a page of its own before it grows.
    while pages - 2 * len(pipes) > 0:
        pipes.append(os.pipe())
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(pipes[-1][1], fcntl.F_SETPIPE_SZ, LARGE_PIPE)
            pages -= LARGE_PIPE // os.sysconf("SC_PAGE_SIZE")
    return pipes


def _hoard(what, uid, *arguments):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Root's are not counted.
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    held = {"descriptors": _descriptors, "pipes": _pipes}[what](*arguments)
    print("hoarded", flush=True)
    sys.stdin.read()
    del held


if __name__ == "__main__":
    _hoard(sys.argv[1], *map(int, sys.argv[2:]))
