"""Ten runs of every upgrade that must lose nobody, as a table."""

from lab.case import times
from lab.deployment import PROCESSES, SOCKET_ACTIVATION, SYSTEMD
from lab.upgrades import Upgrades

RUNS = 10


class _TenTimes:
    def _measure(self, what, upgrade):
        """One row for each run, with the columns of doc/measurements.md."""
        for number in range(1, times(RUNS) + 1):
            load = upgrade(number).load
            print(f"| {self.flavour.name} | {what} | {number} | {load.attempted} "
                  f"| {load.failures.total()} | {load.longest_wait:.2f} s |")

    def test_the_server_moves(self):
        self._measure("server moves", self.server_moves)

    def test_the_server_changes(self):
        self._measure("server changes", self.server_changes)

    def test_the_proxy_changes(self):
        self._measure("proxy changes", self.proxy_changes)

    def test_both_change_and_the_activation_fails(self):
        self._measure("both change, activation fails", self.both_change_and_activation_fails)


class Systemd(_TenTimes, Upgrades):
    flavour = SYSTEMD


class SocketActivation(_TenTimes, Upgrades):
    flavour = SOCKET_ACTIVATION


class Processes(_TenTimes, Upgrades):
    flavour = PROCESSES
