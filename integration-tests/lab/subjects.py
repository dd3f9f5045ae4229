"""Proxies that are disturbed while they carry connections: ours, and two others.

The target of each is port 5000."""

from lab.service import Service
from lab.verified import UPSTREAM_PORT

# No limit of starts for any of them: here they are killed three times a second.
NO_START_LIMIT = "[Unit]\nStartLimitIntervalSec=0\n"

# As in Debian's unit, except that the roots have no /bin/kill.
RELOAD = """ExecReload=
ExecReload=/usr/sbin/haproxy -Ws -f $CONFIG -c -q $EXTRAOPTS
ExecReload=/bin/sh -c "kill -USR2 $MAINPID"
"""

HAPROXY = f"""global
  maxconn 9800
defaults
  mode tcp
  timeout connect 30s
  timeout client 10m
  timeout server 10m
listen proxy
  bind :5002
  server upstream 127.0.0.1:{UPSTREAM_PORT}
"""


class Ours:
    """The shipped units."""

    name = "disnix-tcp-proxy"
    unit = "disnix-tcp-proxy.service"
    program = "/disnix-tcp-proxy"
    port = 5001

    def __init__(self, target=f"127.0.0.1:{UPSTREAM_PORT}", **options):
        self._options = {"target": target, **options}

    def start(self, host):
        """Configures and starts it."""
        host.configure("disnix-tcp-proxy", **self._options)
        host.systemctl("start", "disnix-tcp-proxy.socket", "disnix-tcp-proxy-control.socket")
        host.systemctl("start", self.unit)
        return Service(host, self.unit, self.program)


class HAProxy:
    """Debian's unit: a master process and its worker."""

    name = "HAProxy"
    unit = "haproxy.service"
    program = "/haproxy"
    port = 5002

    def start(self, host):
        """Configures and starts it."""
        host.write("/etc/haproxy/haproxy.cfg", HAPROXY)
        host.drop_in(self.unit, f"{NO_START_LIMIT}[Service]\nLimitNOFILE=131072\n{RELOAD}")
        host.systemctl("start", self.unit)
        return Service(host, self.unit, self.program)


class SocketProxyd:
    """As in its manual page, behind a socket that systemd holds."""

    name = "systemd-socket-proxyd"
    unit = "socket-proxyd.service"
    program = "/systemd-socket-proxyd"
    port = 5003

    def start(self, host):
        """Configures and starts it."""
        host.write("/etc/systemd/system/socket-proxyd.socket",
                   f"[Socket]\nListenStream={self.port}\nBacklog=4096\nTriggerLimitIntervalSec=0\n")
        host.write(f"/etc/systemd/system/{self.unit}",
                   f"{NO_START_LIMIT}[Service]\nLimitNOFILE=131072\n"
                   "ExecStart=/usr/lib/systemd/systemd-socket-proxyd --connections-max=9800 "
                   f"127.0.0.1:{UPSTREAM_PORT}\n")
        host.systemctl("daemon-reload")
        host.systemctl("start", "socket-proxyd.socket")
        host.systemctl("start", self.unit)
        return Service(host, self.unit, self.program)
