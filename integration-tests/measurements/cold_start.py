"""The time to the first reply: the proxy is not running, systemd holds its socket, a client connects.

Every proxy is started by its socket in the same plain unit; then, as a separate pair, the two most likely to have a
hardened unit, with the directives of the shipped one. They take turns, so that other load affects all of them.
"""

import random
import statistics
import time
from dataclasses import dataclass

from lab import case
from lab.case import HostTest, times

CYCLES = 100
UPSTREAM_PORT = 5000
FIRST_PORT = 6000

# Lines of our unit only; all lines after them are hardening.
HARDENING_BEGINS = "# --- What the process may not do"
SHIPPED_UNIT = "/etc/systemd/system/disnix-tcp-proxy.service"

HAPROXY = f"""global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen proxy
  bind fd@3
  server upstream 127.0.0.1:{UPSTREAM_PORT}
"""

# nginx supports inherited sockets for its own upgrades only: by their numbers in NGINX=, and by their
# addresses, which must be those of its `listen`.
NGINX = """load_module modules/ngx_stream_module.so;
daemon off;
pid /run/nginx-cold.pid;
error_log stderr;
events {{}}
stream {{
  server {{
    listen 127.0.0.1:{port};
    proxy_pass 127.0.0.1:{upstream};
  }}
}}
"""


@dataclass
class Contestant:
    """A proxy behind a socket unit of its own."""

    name: str
    service: str
    # An installed one has no text.
    text: str = ""


class ColdStart(HostTest):
    def test_from_a_socket_that_systemd_holds_to_the_first_reply(self):
        self.start_server(exit_idle_time="infinity")
        self._ask(UPSTREAM_PORT)
        plain, hardened = self._plain(), self._hardened()
        for number, contestant in enumerate([*plain, *hardened]):
            contestant.port = FIRST_PORT + number
            self._install(contestant)
        for group in (plain, hardened):
            self._compare([one for one in group if self._works(one)])

    def _compare(self, contestants):
        waited = {one.name: [] for one in contestants}
        for _ in range(times(CYCLES)):
            # In random order, because the cleanup after the one before may still run.
            random.shuffle(contestants)
            for contestant in contestants:
                waited[contestant.name].append(self._cold(contestant))
        _table(waited)

    def _plain(self):
        return [
            _unit("ours, plain unit", "ours", f"/usr/bin/disnix-tcp-proxy 127.0.0.1:{UPSTREAM_PORT}"),
            _unit("socket-proxyd, plain unit", "socket-proxyd",
                  f"/usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:{UPSTREAM_PORT}"),
            _unit("HAProxy, plain unit", "haproxy", "/usr/sbin/haproxy -Ws -f /etc/cold/haproxy.cfg"),
            _unit("HAProxy without a master, plain unit", "haproxy-db",
                  "/usr/sbin/haproxy -db -f /etc/cold/haproxy.cfg", "Type=simple"),
            _unit("nginx (NGINX=), plain unit", "nginx", "/usr/sbin/nginx -c /etc/cold/nginx.conf",
                  "Type=simple\nEnvironment=NGINX=3:"),
        ]

    def _hardened(self):
        hardening = self._hardening()
        return [
            Contestant("ours, shipped unit", "disnix-tcp-proxy"),
            _unit("ours, its hardening alone", "ours-hardened",
                  f"/usr/bin/disnix-tcp-proxy 127.0.0.1:{UPSTREAM_PORT}", "Type=notify\n" + hardening),
            _unit("socket-proxyd, our hardening", "socket-proxyd-hardened",
                  f"/usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:{UPSTREAM_PORT}",
                  "Type=notify\n" + hardening),
        ]

    def _hardening(self):
        _, found, directives = self.host.read(SHIPPED_UNIT).partition(HARDENING_BEGINS)
        self.assertTrue(found, f"{SHIPPED_UNIT} has changed")
        lines = directives.splitlines()[1:]
        # A dynamic user has the name of its unit then.
        return "\n".join(line for line in lines if not line.startswith(("#", "User=")))

    def _install(self, contestant):
        self.host.write("/etc/cold/haproxy.cfg", HAPROXY)
        if contestant.service == "cold-nginx":
            text = NGINX.format(port=contestant.port, upstream=UPSTREAM_PORT)
            self.host.write("/etc/cold/nginx.conf", text)
        if contestant.text:
            socket = f"[Socket]\nListenStream=127.0.0.1:{contestant.port}\nTriggerLimitIntervalSec=0\n"
            self.host.write(f"/etc/systemd/system/{contestant.service}.service", contestant.text)
            self.host.write(f"/etc/systemd/system/{contestant.service}.socket", socket)
            self.host.systemctl("daemon-reload")
            self.host.systemctl("start", f"{contestant.service}.socket")
        else:
            contestant.port = 5001
            self.start_proxy(target=f"127.0.0.1:{UPSTREAM_PORT}")

    def _works(self, contestant):
        """Checks that a socket can start it, and loads its files into memory."""
        try:
            self._cold(contestant)
            return True
        except (OSError, AssertionError) as error:
            print(f"{contestant.name}: does not serve a client that starts it: {error!r}")
            print(self.host.result(["journalctl", "--boot", "--lines=5", "--unit", contestant.service]).stdout)
            self.host.result(["systemctl", "stop", f"{contestant.service}.socket",
                              f"{contestant.service}.service"])
            self.host.result(["systemctl", "reset-failed"])
            return False

    def _cold(self, contestant):
        """One start, in milliseconds."""
        began = time.perf_counter()
        self._ask(contestant.port)
        took = (time.perf_counter() - began) * 1000
        service = f"{contestant.service}.service"
        self.host.systemctl("stop", service)
        self.assertEqual(self.host.state(service), "inactive")
        return took

    def _ask(self, port):
        with self.host.client(port) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")


def _unit(name, service, command, service_lines="Type=notify"):
    text = f"[Unit]\nStartLimitIntervalSec=0\n[Service]\n{service_lines}\nExecStart={command}\n"
    return Contestant(name, f"cold-{service}", text)


def _table(waited):
    """Ratios compare the medians with the first: above 1, the first is faster. The lower quartile is the time on an
    otherwise idle machine."""
    samples = list(waited.values())
    first = statistics.median(samples[0])
    print(f"| cold start, systemd {case.surroundings.version}, {len(samples[0])} cycles "
          f"| lower quartile | median | p90 | ratio |\n|---|---|---|---|---|")
    for name, sample in waited.items():
        median = statistics.median(sample)
        quartile, p90 = statistics.quantiles(sample, n=4)[0], statistics.quantiles(sample, n=10)[-1]
        print(f"| {name} | {quartile:.2f} ms | {median:.2f} ms | {p90:.2f} ms | {median / first:.2f} |")
