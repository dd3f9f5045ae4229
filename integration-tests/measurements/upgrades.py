"""Ten runs of every upgrade that must lose no client, as a table."""

from lab import case
from lab.deployment import PROCESSES, SOCKET_ACTIVATION, SYSTEMD
from lab.upgrades import Upgrades

RUNS = 10


class _TenTimes:
    def _measure(self, what, upgrade):
        """A row for each run, and one for the total."""
        about = f"{what}, {self.flavour.name}, systemd {case.surroundings.version}"
        print(f"| {about} | clients | failed | longest wait |\n|---|---|---|---|")
        loads = []
        for number in range(1, case.times(RUNS) + 1):
            loads.append(upgrade(number).load)
            _row(f"run {number}", loads[-1:])
        _row(f"all {len(loads)}", loads)

    def test_the_server_moves(self):
        self._measure("server moves", self.server_moves)

    def test_the_server_changes(self):
        self._measure("server changes", self.server_changes)

    def test_the_proxy_changes(self):
        self._measure("proxy changes", self.proxy_changes)

    def test_both_change_and_the_activation_fails(self):
        self._measure("both change, activation fails", self.both_change_and_activation_fails)


def _row(name, loads):
    print(f"| {name} | {sum(load.attempted for load in loads)} "
          f"| {sum(load.failures.total() for load in loads)} "
          f"| {max(load.longest_wait for load in loads):.2f} s |")


class Systemd(_TenTimes, Upgrades):
    flavour = SYSTEMD


class SocketActivation(_TenTimes, Upgrades):
    flavour = SOCKET_ACTIVATION


class Processes(_TenTimes, Upgrades):
    flavour = PROCESSES
