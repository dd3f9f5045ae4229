"""An upgrade loses no client, whatever is upgraded, and waits for those who are there."""

from lab.case import heavy
from lab.deployment import PROCESSES, SOCKET_ACTIVATION, SYSTEMD
from lab.upgrades import Upgrades


class _LoseNobody:
    @heavy
    def test_the_server_moves(self):
        print(self.server_moves(1))

    @heavy
    def test_the_server_changes(self):
        print(self.server_changes(1))

    @heavy
    def test_the_proxy_changes(self):
        print(self.proxy_changes(1))

    @heavy
    def test_both_change_and_the_activation_fails(self):
        print(self.both_change_and_activation_fails(1))


class Systemd(_LoseNobody, Upgrades):
    flavour = SYSTEMD


class SocketActivation(_LoseNobody, Upgrades):
    flavour = SOCKET_ACTIVATION


class Processes(_LoseNobody, Upgrades):
    flavour = PROCESSES
