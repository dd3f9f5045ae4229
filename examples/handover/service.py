#!/usr/bin/python3
"""Answers "hello" to the clients that a disnix-tcp-proxy hands over: disnix-tcp-proxy-handover(7). A thread
serves each. systemd makes the socket (ListenDatagram=). Exits when idle: after a minute, or its argument in seconds."""
import array
import os
import select
import signal
import socket
import sys
import threading

room = threading.Semaphore(256)  # further clients wait in the socket


def serve(descriptor, token):
    try:
        with socket.socket(fileno=descriptor) as client:
            client.setblocking(True)
            with client.makefile("rb") as lines:
                for line in iter(lambda: lines.readline(1024), b""):
                    if line.strip() == b"quit":
                        break
                    client.sendall(b"Hello world!\r\n" if line.strip() == b"hello" else b"Not understood\r\n")
            client.shutdown(socket.SHUT_WR)  # closing it sends no end, because the proxy has it too
    except OSError:
        pass  # the client has left
    finally:
        os.close(token)  # from now on the proxy does not count the client
        room.release()


def receive(handover):
    """Receives the clients of one datagram."""
    flags, descriptors = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC, array.array("i")
    message, control, _, _ = handover.recvmsg(10, socket.CMSG_SPACE(64 * descriptors.itemsize), flags)
    for _, _, data in control:
        descriptors.frombytes(data)
    if message != b"clients/1" or len(descriptors) % 2:
        return [os.close(descriptor) for descriptor in descriptors]
    for client, token in zip(descriptors[::2], descriptors[1::2]):
        room.acquire()
        threading.Thread(target=serve, args=(client, token)).start()


if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
    sys.exit("one socket is needed, of a .socket unit with ListenDatagram=")
handover = socket.socket(fileno=3)
stop, stopped = socket.socketpair()
stopped.setblocking(False)
signal.set_wakeup_fd(stopped.fileno())
signal.signal(signal.SIGTERM, lambda *_: None)
idle = float(sys.argv[1]) if len(sys.argv) > 1 else 60
while stop not in (ready := select.select([handover, stop], [], [], idle)[0]):
    if ready:
        receive(handover)
    elif threading.active_count() == 1:
        break  # a client that comes now stays in the socket, and starts the next process
# Python exits when the last thread has ended.
