"""Direct handover: the proxy accepts, the server serves, systemd holds both sockets."""

from lab import journal, project
from lab.case import HostTest, heavy, times
from lab.load import Load

PROXY, SERVER = "disnix-tcp-proxy.service", "hello-world-server.service"
PORT = 5001
HELLO = "Hello world!"


class Handover(HostTest):
    """systemd-units/examples/handover, with the shipped units."""

    def start(self, server=None, **proxy):
        if server:
            self.host.configure("hello-world-server", **server)
        if proxy:
            self.host.configure("disnix-tcp-proxy", **proxy)
        project.install_example(self.host, "handover")
        self.host.systemctl("start", "hello-world-server-handover.socket", "disnix-tcp-proxy.socket",
                            "disnix-tcp-proxy-control.socket")

    def test_the_first_client_starts_the_proxy_and_the_server(self):
        self.start()
        for unit in (PROXY, SERVER):
            self.assertEqual(self.host.state(unit), "inactive")
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("hello"), HELLO)
            one = self.connections()[0]
            self.assertEqual(one["upstream"], "handover:/run/hello-world-server/handover")
            self.assertEqual(one["receivedBytes"], len("hello\r\n"))
            client.send("hello\r\n").finish()
            self.assertEqual(client.rest(), f"{HELLO}\r\n".encode())
        self.wait_for_open(0)

    def test_a_lock_waits_until_the_server_is_done_also_over_a_kill_of_the_proxy(self):
        self.start()
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("hello"), HELLO)
            self.host.kill(PROXY)
            self.assertEqual(client.ask("hello"), HELLO)
            self.wait_for_open(1)
            lock = self.lock_in_background()
            self.wait_for_gate("draining")
            waiting = self.host.client(PORT)
            self.assertEqual(client.ask("hello"), HELLO)
            self.assertTrue(lock.is_running())
        self.assertEqual(lock.wait(), 0)
        waiting.send("hello\r\n")
        self.assertTrue(waiting.is_silent(0.3))
        self.ctl("unlock")
        self.assertEqual(waiting.line(), HELLO)

    def test_a_restart_of_the_proxy_ends_no_connection(self):
        self.start()
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("hello"), HELLO)
            self.host.systemctl("restart", PROXY)
            self.assertEqual(client.ask("hello"), HELLO)
            self.wait_for_open(1)
        self.wait_for_open(0)

    def test_a_killed_server_ends_served_clients_and_serves_those_that_had_sent_nothing(self):
        self.start()
        served, silent = self.host.client(PORT), self.host.client(PORT)
        self.assertEqual(served.ask("hello"), HELLO)
        self.wait_for_open(2)
        self.host.kill(SERVER)
        self.assertEqual(served.rest(), b"")
        self.assertEqual(silent.ask("hello"), HELLO)
        self.wait_for_open(1)

    @heavy
    def test_hundreds_of_starts_and_exits_of_the_server_lose_no_client(self):
        self.start(server={"exit_idle_time": "0"})
        wanted, served, exits = times(250), 0, 0
        while exits < wanted:
            for _ in range(wanted - exits):
                with self.host.client(PORT) as client:
                    self.assertEqual(client.ask("hello"), HELLO, f"client {served}")
                    client.quit()
                served += 1
            entries = self.host.journal.entries(message_id=journal.IDLE_EXIT, _systemd_unit=SERVER)
            exits = len(entries)
            self.assertLess(served, 20 * wanted, f"{served} clients, but only {exits} exits")
        print(f"{served} clients over {exits} exits: none lost")

    @heavy
    def test_restarts_of_the_server_and_the_proxy_under_load_lose_no_client(self):
        self.start()
        load = Load(self.host.network, ("127.0.0.1", PORT), {HELLO})
        self.addCleanup(load.end)
        for turn in range(times(30)):
            load.crowd(50)
            self.host.systemctl("restart", (SERVER, PROXY)[turn % 2])
        load.end()
        self.assertEqual(load.failures, {})
        print(f"{len(load.served)} clients over {times(30)} restarts: none lost")
