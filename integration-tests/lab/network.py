"""Several hosts on a switch, which resolve each other's names."""

from lab import case
from lab.namespaces import Network

# Visible to the hosts of one test only.
ADDRESS = "10.213.0.{}"
PREFIX = 24
INTERFACE = "lan0"


class NetworkTest(case.LabTest):
    """`self.hosts` are hosts by their names; `self.lan` is the network of their clients."""

    names = ("test1", "test2")

    # Whether the project is installed on them.
    has_project = False

    # The arguments of `Machine` for each.
    options = {}

    def setUp(self):
        self.lan = Network.new()
        self.addCleanup(self.lan.close)
        self.lan.add_bridge("switch", f"{address(0)}/{PREFIX}")
        self.hosts = {name: self._add(name) for name in self.names}

    def _add(self, name):
        # The last layer is the operating system.
        layers = case.surroundings.layers if self.has_project else case.surroundings.layers[-1:]
        host = self.boot(name, layers, hostname=name, **self.options)
        self.lan.plug_in("switch", name, host.network, (INTERFACE, f"{self.address(name)}/{PREFIX}"))
        known = [f"{self.address(other)} {other}" for other in self.names]
        host.write("/etc/hosts", "\n".join(["127.0.0.1 localhost", *known, ""]))
        return host

    def address(self, name):
        """The address of a host."""
        return address(self.names.index(name) + 1)

    def unplug(self, name):
        """Disconnects a host: no packet reaches it or leaves it any more."""
        self.lan.run("ip", "link", "set", name, "down")


def address(number):
    """The switch's end of the link is 0."""
    return ADDRESS.format(number + 1)
