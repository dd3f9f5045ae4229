"""wrk: a client that keeps its connections and asks without a pause. It repeats nothing, and counts what it misses."""

import re
import signal
import subprocess

# Longer than it is needed: it is told to end.
DURATION = "10m"
TIMEOUT = "60s"
ERRORS = ("Socket errors", "Non-2xx")


class Wrk:
    """`count` connections of wrk, which runs in the host until the end of the block."""

    def __init__(self, host, port, count):
        self._host = host
        self._command = ["wrk", "--threads=1", f"--connections={count}", f"--duration={DURATION}",
                         f"--timeout={TIMEOUT}", f"http://127.0.0.1:{port}/wrk"]
        self.served, self.failed = 0, []

    def __enter__(self):
        self._process = self._host.start(self._command, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        self._process.kill(signal.SIGINT)
        report = self._process.stdout.read().decode()
        self.failed = [line.strip() for line in report.splitlines() if line.strip().startswith(ERRORS)]
        requests = re.search(r"(\d+) requests in", report)
        if requests is None:
            raise AssertionError(f"wrk has said {report!r}")
        self.served = int(requests[1])

    def __str__(self):
        return f"wrk: {self.served} requests; failed: {', '.join(self.failed) or 'none'}"
