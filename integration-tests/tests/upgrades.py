"""An upgrade loses no client, whatever is upgraded, and waits for connected clients."""

from dataclasses import replace

from lab.case import VERSIONS, heavy, only_on
from lab.deployment import MANAGED_PROCESSES, PROCESSES, SOCKET_ACTIVATION, SYSTEMD
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


class ManagedProcesses(Upgrades):
    """The difference from the processes above is their start, by nix-processmgmt."""

    flavour = MANAGED_PROCESSES

    @only_on(VERSIONS[0])
    def test_both_change_and_the_activation_fails(self):
        print(self.both_change_and_activation_fails(1))


@only_on(VERSIONS[0])
class SystemdWithoutRoute(_LoseNobody, Upgrades):
    """A distribution with the three services without hello_world_route."""

    flavour = replace(SYSTEMD, has_route=False)


@only_on(VERSIONS[1])
class SocketActivationWithoutRoute(_LoseNobody, Upgrades):
    flavour = replace(SOCKET_ACTIVATION, has_route=False)


@only_on(VERSIONS[1])
class ProcessesWithoutRoute(_LoseNobody, Upgrades):
    flavour = replace(PROCESSES, has_route=False)
