"""Too few descriptors, too many clients: the rest waits, none is refused."""

import select
import time

from lab import journal
from lab.case import HostTest

PROXY, SERVER = "disnix-tcp-proxy.service", "hello-world-server.service"


class Limits(HostTest):
    def test_a_proxy_with_few_descriptors_serves_all_in_turn(self):
        self.start_server()
        self.host.drop_in(PROXY, "[Service]\nLimitNOFILE=64\n")
        self.start_proxy()
        self._all_are_served_in_turn(5001, 200)

    def test_a_server_with_few_descriptors_serves_all_in_turn(self):
        self.host.drop_in(SERVER, "[Service]\nLimitNOFILE=64\n")
        self.start_server()
        self._all_are_served_in_turn(5000, 200)

    def _all_are_served_in_turn(self, port, size):
        """Each leaves when it has been served, which makes room for the next."""
        with self.host.crowd(port, size) as crowd:
            crowd.send("hello")
            for client in crowd.clients:
                self.assertEqual(client.line(), "Hello world!")
                client.close()

    def test_when_descriptors_run_out_accepting_pauses_and_goes_on(self):
        self.start_server()
        self.start_proxy()
        with self.host.client(5001) as client:
            client.ask("hello")
        pid = self.host.main_pid(PROXY)
        # Below its own limit: every further accept fails with EMFILE.
        self.host.run(["prlimit", "--pid", pid, "--nofile=40:40"])
        with self.host.crowd(5001, 100) as crowd:
            crowd.send("hello")
            self.host.journal.wait(message_id=journal.ACCEPTING_PAUSED, unit=PROXY)
            before, since = self.host.cpu_seconds(pid), time.monotonic()
            self.assertTrue(crowd.clients[-1].is_silent(2))
            used = (self.host.cpu_seconds(pid) - before) / (time.monotonic() - since)
            self.assertLess(used, 0.2, "it spins")
            for client in crowd.clients:
                self.assertEqual(client.line(), "Hello world!")
                client.close()
        self.assertEqual(self.host.main_pid(PROXY), pid)

    def test_beyond_connections_max_clients_wait_in_the_queue(self):
        self.start_server()
        self.start_proxy(connections_max="10")
        with self.host.crowd(5001, 30) as crowd:
            crowd.send("hello")
            self.wait_for_open(10)
            self.assertTrue(crowd.clients[-1].is_silent(0.5))
            self.assertEqual((self.status()["open"], self.status()["queued"]), (10, 20))
            for client in crowd.clients:
                self.assertEqual(client.line(), "Hello world!")
                client.close()

    def test_a_full_queue_is_announced_and_those_beyond_get_in_when_there_is_room(self):
        self.start_server()
        self.host.drop_in("disnix-tcp-proxy.socket", "[Socket]\nBacklog=10\n")
        self.start_proxy()
        self.ctl("lock")
        with self.host.crowd(5001, 11) as crowd:
            crowd.send("hello")
            self.host.journal.wait(message_id=journal.QUEUE_FULL, unit=PROXY)
            beyond = self.host.network.socket()
            beyond.setblocking(False)
            beyond.connect_ex(("127.0.0.1", 5001))
            self.ctl("unlock")
            self.assertEqual(set(crowd.answers()), {"Hello world!"})
            beyond.settimeout(10)
            select.select([], [beyond], [], 10)
            beyond.sendall(b"hello\r\n")
            self.assertEqual(beyond.recv(100), b"Hello world!\r\n")
            beyond.close()

    def test_an_idle_connection_costs_little_memory(self):
        self.start_server()
        self.start_proxy()
        self.host.systemctl("start", PROXY)
        pid = self.host.main_pid(PROXY)
        before = int(self.host.process_status(pid)["VmRSS"].split()[0])
        with self.host.crowd(5001, 1000) as crowd:
            crowd.send("hello")
            self.assertEqual(set(crowd.answers()), {"Hello world!"})
            after = int(self.host.process_status(pid)["VmRSS"].split()[0])
        print(f"{after - before} kB for 1,000 idle connections")
        self.assertLess(after - before, 30_000)
