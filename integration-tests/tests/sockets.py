"""An administrator's changes of sockets: restarts, and other addresses."""

from lab import project
from lab.case import HostTest, times
from lab.clients import Clients

CLIENTS, CONTROL = "disnix-tcp-proxy.socket", "disnix-tcp-proxy-control.socket"
PROXY = "disnix-tcp-proxy.service"
PATH = "/run/disnix-tcp-proxy/default/control"


class Restarts(HostTest):
    """A restarted socket is open again: no process holds the old one, and there is no limit."""

    def setUp(self):
        super().setUp()
        self.host.echo_upstream(5000)
        self.start_proxy()

    def _are_opened_again(self, *units):
        for turn in range(times(20)):
            with self.subTest(turn), self.host.client(5001) as client:
                self.assertEqual(client.ask("hello"), "hello")
                self.host.systemctl("restart", *units)
        self.assertEqual(self.host.client(5001).ask("hello"), "hello")

    def test_both_sockets_of_a_proxy_in_one_command(self):
        self._are_opened_again(CLIENTS, CONTROL)

    def test_the_socket_of_the_clients_alone(self):
        self._are_opened_again(CLIENTS)

    def test_the_control_socket_is_for_the_operators_each_time(self):
        for _ in range(times(5)):
            self.host.systemctl("restart", CLIENTS, CONTROL)
            self.assertEqual(self.host.run(["stat", "--format=%U %G %a", PATH]).strip(),
                             f"root {project.OPERATORS} 660")


class RestartsOfTheServer(HostTest):
    def test_both_of_its_sockets_are_opened_again(self):
        self.start_server()
        for turn in range(times(20)):
            with self.subTest(turn):
                with self.host.client(5000) as client:
                    self.assertEqual(client.ask("hello"), "Hello world!")
                    client.quit()
                self.host.systemctl("restart", "hello-world-server.socket", "hello-world-server-handover.socket")


class AnotherPort(HostTest):
    """systemd-units/examples/another-port: adding a port, and removing it."""

    def setUp(self):
        super().setUp()
        self.start_server()
        self.start_proxy()

    def _add(self):
        project.install_example(self.host, "another-port")
        self.host.systemctl("restart", PROXY)

    def test_it_is_added_and_no_client_is_refused(self):
        with self.host.client(5001) as staying:
            self.assertEqual(staying.ask("hello"), "Hello world!")
            with Clients(self.host, 5001) as others:
                self._add()
                self.assertEqual(self.host.client(5002).ask("hello"), "Hello world!")
            self.assertEqual(others.failures, [])
            self.assertEqual(staying.ask("hello"), "Hello world!")

    def test_one_of_several_is_removed_and_no_client_is_refused_at_the_others(self):
        self.host.drop_in("disnix-tcp-proxy-another.socket", "[Socket]\nListenStream=5003\n")
        self._add()
        with self.host.client(5003) as staying:
            self.assertEqual(staying.ask("hello"), "Hello world!")
            with Clients(self.host, 5001) as others:
                self.host.drop_in("disnix-tcp-proxy-another.socket", "")
                # systemd has closed 5003, so the next process does not get it.
                self.host.systemctl("restart", PROXY)
                with self.assertRaises(ConnectionRefusedError):
                    self.host.client(5003)
                self.assertEqual(self.host.client(5002).ask("hello"), "Hello world!")
            self.assertEqual(others.failures, [])
            self.assertEqual(staying.ask("hello"), "Hello world!")
