"""Long measurements: `integration-tests/measure`."""

import statistics
import threading
import time

from lab import journal
from lab.case import HostTest, times


class SocketActivation(HostTest):
    def test_ten_thousand_cycles_against_the_server_with_idle_time_0(self):
        self.start_server(exit_idle_time="0")
        count, latencies = times(10_000), []
        started = time.monotonic()
        for number in range(count):
            began = time.monotonic()
            with self.host.client(5000) as client:
                self.assertEqual(client.ask("hello"), "Hello world!", f"client {number}")
                client.quit()
            latencies.append((time.monotonic() - began) * 1000)
        took = time.monotonic() - started
        exits = len(self.host.journal.entries(message_id=journal.IDLE_EXIT))
        self.assertGreater(exits, count // 100)
        print(f"{count} connect/hello/quit cycles in {took:.0f} s over {exits} idle exits: 0 failed; "
              f"median {statistics.median(latencies):.1f} ms, longest {max(latencies):.0f} ms")

    def test_ten_thousand_cycles_from_four_clients_at_a_time(self):
        self.start_server(exit_idle_time="0")
        self.start_proxy(exit_idle_time="0")
        count, failures = times(10_000), []

        def clients():
            for _ in range(count // 4):
                try:
                    with self.host.client(5001, timeout=30) as client:
                        if client.ask("hello") != "Hello world!":
                            raise AssertionError("wrong answer")
                        client.quit()
                except Exception as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=clients) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        exits = len(self.host.journal.entries(message_id=journal.IDLE_EXIT))
        self.assertEqual(failures, [])
        print(f"{count} clients through proxy and server, both with idle time 0, over {exits} idle "
              f"exits: 0 failed")


class Queue(HostTest):
    def test_two_thousand_clients_wait_twenty_seconds_and_are_all_served(self):
        self.start_server()
        self.start_proxy()
        self.ctl("lock", "--reason", "measurement")
        count = times(2000)
        with self.host.crowd(5001, count) as crowd:
            crowd.send("hello")
            self.assertTrue(crowd.is_silent(20))
            self.assertEqual(self.status()["queued"], count)
            self.ctl("unlock")
            unlocked = time.monotonic()
            answers = crowd.answers()
            took = time.monotonic() - unlocked
            wrong = [answer for answer in answers if answer != "Hello world!"]
            print(f"{count} clients waited 20 s: {len(wrong)} failed, all served {took:.2f} s "
                  f"after unlock")
            self.assertEqual(wrong, [])
            self.assertEqual([c["peer"] for c in self.connections()], crowd.names)
