"""systemd holds the port, and starts the programs for the first client."""

import json
import time

from lab import journal
from lab.case import HostTest, heavy, times


class Activation(HostTest):
    def test_the_first_connection_starts_the_server(self):
        self.start_server()
        self.assertEqual(self.host.state("hello-world-server.service"), "inactive")
        self.assertEqual(self.host.client(5000).ask("hello"), "Hello world!")
        self.host.wait_for_state("hello-world-server.service", "active")

    def test_the_first_connection_starts_the_proxy_and_the_server_behind_it(self):
        self.start_server()
        self.start_proxy()
        self.assertEqual(self.host.state("disnix-tcp-proxy.service"), "inactive")
        self.assertEqual(self.host.client(5001).ask("hello"), "Hello world!")
        self.host.wait_for_state("disnix-tcp-proxy.service", "active")
        self.host.wait_for_state("hello-world-server.service", "active")

    def test_a_question_about_its_state_starts_the_proxy_too(self):
        self.start_proxy()
        self.assertEqual(self.status()["gate"], "open")

    def test_a_look_at_its_state_starts_nothing(self):
        self.start_proxy()
        self.ctl("lock", "--reason", "night")
        self.host.systemctl("stop", "disnix-tcp-proxy.service")
        shown = json.loads(self.ctl("--json", "status"))
        self.assertEqual((shown["process"], shown["gate"]), ("asleep", "locked"))
        self.assertEqual((shown["lock"]["reason"], shown["target"]), ("night", "127.0.0.1:5000"))
        self.assertIn("[::]:5001", [listener["address"] for listener in shown["listeners"]])
        self.assertEqual(self.host.state("disnix-tcp-proxy.service"), "inactive")
        self.assertEqual(self.status()["lock"]["reason"], "night")

    def test_ipv6_is_served_like_ipv4(self):
        self.start_server()
        self.start_proxy()
        for port in (5000, 5001):
            with self.host.client(port, address="::1") as client:
                self.assertEqual(client.ask("hello"), "Hello world!")

    def test_all_listeners_of_the_server_are_served_at_once(self):
        self._listen_also("hello-world-server.socket")
        self.start_server()
        self._all_are_served(5000)

    def test_all_listeners_of_the_proxy_are_served_at_once(self):
        self._listen_also("disnix-tcp-proxy.socket")
        self.start_server()
        self.start_proxy()
        self._all_are_served(5001)

    def _listen_also(self, unit):
        self.host.drop_in(unit, "[Socket]\nListenStream=5002\nListenStream=127.0.0.1:5003\n"
                                "ListenStream=/run/second.sock\n")

    def _all_are_served(self, first):
        together = [self.host.client(port) for port in (first, 5002, 5003)]
        together.append(self.host.unix_client("/run/second.sock"))
        for client in together:
            self.assertEqual(client.ask("hello"), "Hello world!")


class IdleExit(HostTest):
    def test_the_server_ends_itself_and_the_journal_tells_why(self):
        self.start_server(exit_idle_time="500ms")
        with self.host.client(5000) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        entry = self.host.journal.wait(message_id=journal.IDLE_EXIT)
        self.assertEqual(entry["_SYSTEMD_UNIT"], "hello-world-server.service")
        self.assertEqual(entry["SYSLOG_IDENTIFIER"], "hello-world-server")
        self.host.wait_for_state("hello-world-server.service", "inactive")
        self.assertEqual(self.host.show("hello-world-server.service", "Result"), "success")
        self.assertRegex(self.host.journal.explained(journal.IDLE_EXIT), r"░░ Subject: \S+")

    def test_the_proxy_ends_itself_and_the_journal_tells_why(self):
        self.start_server()
        self.start_proxy(exit_idle_time="500ms")
        with self.host.client(5001) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        entry = self.host.journal.wait(message_id=journal.IDLE_EXIT)
        self.assertEqual(entry["_SYSTEMD_UNIT"], "disnix-tcp-proxy.service")
        self.host.wait_for_state("disnix-tcp-proxy.service", "inactive")
        self.assertEqual(self.host.show("disnix-tcp-proxy.service", "Result"), "success")

    def test_an_open_connection_keeps_both_alive(self):
        self.start_server(exit_idle_time="200ms")
        self.start_proxy(exit_idle_time="200ms")
        with self.host.client(5001) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
            self.assertTrue(client.is_silent(1.5))
            self.assertEqual(client.ask("hello"), "Hello world!")
        self.host.wait_for_state("disnix-tcp-proxy.service", "inactive")
        self.host.wait_for_state("hello-world-server.service", "inactive")

    @heavy
    def test_hundreds_of_starts_and_exits_of_the_server_lose_no_client(self):
        self.start_server(exit_idle_time="0")
        self._cycles(5000, "hello-world-server.service")

    @heavy
    def test_hundreds_of_starts_and_exits_of_the_proxy_lose_no_client(self):
        self.start_server()
        self.start_proxy(exit_idle_time="0")
        self._cycles(5001, "disnix-tcp-proxy.service")

    def _cycles(self, port, unit):
        """Clients one after the other, until the unit has started and exited often enough. They connect 0
        to 20 ms after the end of the one before: some while the unit is exiting, when one could be
        lost."""
        wanted, served, exits = times(250), 0, 0
        while exits < wanted:
            for _ in range(wanted - exits):
                time.sleep(served % 21 / 1000)
                with self.host.client(port) as client:
                    self.assertEqual(client.ask("hello"), "Hello world!", f"client {served}")
                    client.quit()
                served += 1
            entries = self.host.journal.entries(message_id=journal.IDLE_EXIT, _systemd_unit=unit)
            exits = len(entries)
            self.assertLess(served, 20 * wanted, f"{served} clients, but only {exits} exits")
        print(f"{served} clients over {exits} exits: none lost")
        self.assertEqual(self.host.state(unit.replace(".service", ".socket")), "active")


class Backlog(HostTest):
    def test_a_client_that_has_half_closed_and_gone_to_wait_is_still_answered(self):
        self.start_server()
        client = self.host.client(5000)
        client.send("hello\r\n").finish()
        self.assertEqual(client.rest(), b"Hello world!\r\n")

    def test_a_client_that_gave_up_in_the_queue_disturbs_no_other(self):
        self.start_server()
        self.start_proxy()
        self.ctl("lock")
        with self.host.client(5001) as impatient:
            impatient.send("hello\r\n")
            impatient.reset()
        with self.host.client(5001) as patient:
            patient.send("hello\r\n")
            self.ctl("unlock")
            self.assertEqual(patient.line(), "Hello world!")
