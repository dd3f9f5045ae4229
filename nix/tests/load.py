"""Clients of hello-world-server that count failures.

load steady HOST PORT        one every 20 ms, until SIGTERM
load crowd HOST PORT COUNT   all at once
load held HOST PORT          one that stays until SIGTERM and then sends hello once more

Each sends hello and reads the answer. The last line is `N served, N failed`; the exit status is 0 if it served some and failed none.
"""

import collections
import signal
import socket
import sys
import threading

TIMEOUT = 120

ended = threading.Event()
results = collections.Counter()
lock = threading.Lock()


def hello(connection):
    connection.sendall(b"hello\n")
    answer = connection.makefile("rb").readline()
    if not answer.lower().startswith(b"hello "):
        raise OSError(f"the answer was {answer!r}")


def client(address, stay=False):
    try:
        with socket.create_connection(address, TIMEOUT) as connection:
            hello(connection)
            if stay:
                print("connected", flush=True)
                ended.wait()
                hello(connection)
        result = "served"
    except OSError as error:
        print(error, flush=True)
        result = "failed"
    with lock:
        results[result] += 1


def main(kind, host, port, count="1"):
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    address = (host, int(port))
    threads = []

    def start(**options):
        thread = threading.Thread(target=client, args=[address], kwargs=options)
        thread.start()
        threads.append(thread)

    if kind == "steady":
        while not ended.wait(0.02):
            start()
    else:
        for _ in range(int(count)):
            start(stay=kind == "held")
    for thread in threads:
        thread.join()
    print(f"{results['served']} served, {results['failed']} failed", flush=True)
    return 1 if results["failed"] or not results["served"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
