"""A Prometheus in the network of a host: the program of Debian's package, which is not installed for it."""

import contextlib
import fcntl
import json
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from lab import namespaces, prerequisites, roots, wait
from lab.errors import Unmet

PORT = 9090
SCRAPE_INTERVAL = 2  # seconds

CONFIGURATION = """global:
  scrape_interval: {interval}s
  scrape_timeout: 2s
  evaluation_interval: 1s
rule_files: [{rules}]
scrape_configs:
  - job_name: test
    static_configs: [{{targets: ["127.0.0.1:9549"]}}]
"""


def program(name):
    """The path of `prometheus` or `promtool`. The package is downloaded once."""
    tools = roots.cache_directory().parent / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    directory = tools / "prometheus"
    with open(tools / "prometheus.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            _download(directory)
    return directory / "usr/bin" / name


def _download(directory):
    unfinished = directory.with_name("prometheus.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    download = ["apt-get", "download", "prometheus"]
    for attempt in (download, ["apt-get", "update"], download):
        done = subprocess.run(attempt, cwd=unfinished, capture_output=True, text=True)
        packages = list(unfinished.glob("prometheus_*.deb"))
        if packages:
            break
    else:
        raise Unmet(f"apt-get could not download prometheus:\n{done.stderr.strip()}")
    subprocess.run(["dpkg-deb", "--extract", packages[0], unfinished], check=True)
    packages[0].unlink()
    unfinished.rename(directory)


class NotReady(Exception):
    """Prometheus listens and does not answer yet."""


class Prometheus:
    """One that scrapes the metrics of a host, and has our alerting rules."""

    def __init__(self, host):
        self._host = host
        self._directory = tempfile.TemporaryDirectory()
        directory = Path(self._directory.name)
        rules = prerequisites.PROJECT / "doc/monitoring/alerts.yml"
        (directory / "prometheus.yml").write_text(CONFIGURATION.format(rules=rules, interval=SCRAPE_INTERVAL))
        command = [program("prometheus"), f"--config.file={directory}/prometheus.yml",
                   f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{PORT}",
                   "--log.level=warn"]
        self._log = directory / "log"
        with open(self._log, "w") as log, host.network.entered():
            self._process = subprocess.Popen(
                command, cwd=directory, stdout=log, stderr=log,
                preexec_fn=lambda: namespaces.die_with_parent(signal.SIGKILL))

    def stop(self):
        """Ends it."""
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()

    def ask(self, path, **parameters):
        """What its API answers."""
        query = urllib.parse.urlencode(parameters)
        with self._host.client(PORT) as client:
            client.send(f"GET /api/v1/{path}?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n")
            head, _, text = client.rest().decode().partition("\r\n\r\n")
        if " 503 " in head.splitlines()[0]:
            raise NotReady
        if " 200 " not in head.splitlines()[0]:
            raise AssertionError(f"{path} {parameters}: {head}\n{text}")
        return json.loads(text)["data"]

    def value(self, query):
        """The value of the only series that the query selects now; `None` if there is none, or nobody answers yet."""
        if self._process.poll() is not None:
            raise AssertionError(f"Prometheus has ended:\n{self._log.read_text()}")
        with contextlib.suppress(ConnectionError, NotReady):
            found = self.ask("query", query=query)["result"]
            if len(found) > 1:
                raise AssertionError(f"{query}: {found}")
            return float(found[0]["value"][1]) if found else None
        return None

    def wait_for(self, query, value):
        """Waits until a query has this value."""
        wait.until(lambda: self.value(query) == value, f"{query} to be {value}", 60)


def watch(test):
    """Starts the service and the proxy of a test, and a Prometheus that has scraped the proxy when this returns."""
    test.start_server()
    test.start_proxy()
    test.host.systemctl("start", "disnix-tcp-proxy-metrics.socket")
    server = Prometheus(test.host)
    test.addCleanup(server.stop)
    server.wait_for("up", 1)
    return server
