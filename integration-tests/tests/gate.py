"""The promise itself: lock, drain, queue, unlock."""

import time

from lab import journal, wait
from lab.case import HostTest, heavy, times

PROXY = "disnix-tcp-proxy.service"


class Gate(HostTest):
    def setUp(self):
        super().setUp()
        self.upstream = self.host.echo_upstream(5000)
        self.addCleanup(self.upstream.close)
        self.start_proxy()

    def test_lock_waits_for_the_open_connection_and_says_what_it_did(self):
        with self.host.client(5001) as client:
            client.ask("before")
            lock = self.lock_in_background("--reason", "upgrade")
            self.wait_for_gate("draining")
            self.assertEqual(client.ask("during"), "during")
            self.assertTrue(lock.is_running())
        self.assertEqual(lock.output()[0], 0)
        self.assertEqual((self.status()["gate"], self.status()["open"]), ("locked", 0))
        for event in (journal.LOCKED, journal.DRAINED):
            self.host.journal.wait(message_id=event, unit=PROXY)
        self.ctl("unlock")
        self.host.journal.wait(message_id=journal.UNLOCKED, unit=PROXY)

    def test_a_client_that_arrives_during_the_drain_is_served_after_unlock(self):
        with self.host.client(5001) as staying:
            staying.ask("hello")
            lock = self.lock_in_background()
            self.wait_for_gate("draining")
            with self.host.client(5001) as early:
                early.send("early\n")
                staying.close()
                self.assertEqual(lock.wait(), 0)
                self.assertTrue(early.is_silent(0.5))
                self.ctl("unlock")
                self.assertEqual(early.line(), "early")

    def test_while_the_gate_is_closed_no_client_reaches_the_upstream(self):
        self.ctl("lock")
        before = self.upstream.accepted
        with self.host.crowd(5001, 50) as crowd:
            crowd.send()
            self.assertTrue(crowd.is_silent(1))
            status = self.status()
            self.assertEqual((status["open"], status["queued"]), (0, 50))
            self.assertEqual(self.upstream.accepted, before)
            self.ctl("unlock")
            self.assertEqual(set(crowd.answers()), {"hello"})

    @heavy
    def test_a_thousand_clients_queue_and_are_all_served_in_the_order_of_their_arrival(self):
        count = times(1000)
        with self.host.client(5001) as staying:
            staying.ask("hello")
            lock = self.lock_in_background("--timeout", "infinity")
            self.wait_for_gate("draining")
            with self.host.crowd(5001, count) as crowd:
                crowd.send("mine")
                staying.close()
                self.assertEqual(lock.wait(), 0)
                self.assertEqual(self.status()["queued"], count)
                unlocked = time.monotonic()
                self.ctl("unlock")
                answers = crowd.answers()
                print(f"{count} clients served {time.monotonic() - unlocked:.2f} s after unlock")
                self.assertEqual([a for a in answers if a != "mine"], [])
                self.assertEqual([c["peer"] for c in self.connections()], crowd.names)

    def test_lock_and_unlock_are_idempotent(self):
        self.ctl("unlock")
        for _ in range(2):
            self.ctl("lock")
            self.assertEqual(self.status()["gate"], "locked")
        for _ in range(2):
            self.ctl("unlock")
            self.assertEqual(self.status()["gate"], "open")

    def test_a_drain_that_takes_too_long_leaves_the_gate_open_with_status_3(self):
        with self.host.client(5001) as client, self.host.client(5001) as other:
            client.ask("hello"), other.ask("hello")
            status, _, said = self.lock_in_background("--timeout", "500ms").output()
            self.assertEqual(status, 3, said)
            self.assertEqual(self.status()["gate"], "open")
            with self.host.client(5001) as late:
                self.assertEqual(late.ask("late"), "late")

    def test_force_after_resets_clients_that_do_not_leave(self):
        with self.host.client(5001) as client:
            client.ask("hello")
            self.ctl("lock", "--force-after", "500ms")
            self.assertTrue(client.is_reset())
        self.assertEqual(self.status()["gate"], "locked")

    def test_a_lock_around_a_command_gives_its_status_and_ends_with_it(self):
        done = self.host.result(["disnix-tcp-proxyctl", "lock", "--", "sh", "-c",
                                 "disnix-tcp-proxyctl --json status; exit 42"])
        self.assertEqual(done.returncode, 42, done.stderr)
        self.assertIn('"locked"', done.stdout)
        self.assertEqual(self.status()["gate"], "open")


class LockOutlivesTheProxy(HostTest):
    def setUp(self):
        super().setUp()
        self.start_server()

    def _still_locked_after(self, calamity):
        self.ctl("lock", "--reason", "upgrade")
        with self.host.client(5001) as waiting:
            waiting.send("hello\r\n")
            calamity()
            self.assertTrue(waiting.is_silent(0.5))
            status = self.status()
            self.assertEqual((status["gate"], status["open"]), ("locked", 0))
            self.assertEqual(status["lock"]["reason"], "upgrade")
            self.ctl("unlock")
            self.assertEqual(waiting.line(), "Hello world!")

    def test_kill_9(self):
        self.start_proxy()
        self._still_locked_after(lambda: self.host.kill(PROXY, "KILL"))

    def test_restart(self):
        self.start_proxy()
        self._still_locked_after(lambda: self.host.systemctl("restart", PROXY))

    def test_stop_and_start_by_the_waiting_client(self):
        self.start_proxy()
        self._still_locked_after(lambda: self.host.systemctl("stop", PROXY))

    def test_idle_exit(self):
        self.start_proxy(exit_idle_time="300ms")
        self.ctl("lock")
        self.host.wait_for_state(PROXY, "inactive")
        with self.host.client(5001) as waiting:
            waiting.send("hello\r\n")
            self.assertTrue(waiting.is_silent(1))
            self.assertEqual(self.status()["gate"], "locked")
            self.ctl("unlock")
            self.assertEqual(waiting.line(), "Hello world!")

    def test_kill_9_in_the_middle_of_the_drain(self):
        # With kept connections the drain continues: tests/keeping.py.
        self.start_proxy(keep_connections="no")
        with self.host.client(5001) as staying:
            staying.ask("hello")
            lock = self.lock_in_background("--timeout", "infinity")
            self.wait_for_gate("draining")
            self.host.kill(PROXY, "KILL")
            lock.wait()
        # The caller's connection broke with the process: its lock is gone, or it stays for
        # another caller; in neither case may the proxy be stuck.
        self.ctl("unlock")
        with self.host.client(5001) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")

    def test_it_does_not_outlive_the_machine(self):
        self.start_proxy()
        self.ctl("lock")
        record = self.host.run(["sh", "-c", "ls /run/disnix-tcp-proxy-gate/*/lock"]).strip()
        kind = self.host.run(["stat", "--file-system", "--format=%T", record]).strip()
        self.assertEqual(kind, "tmpfs", f"{record} must be gone after a reboot")


class Callers(HostTest):
    def setUp(self):
        super().setUp()
        self.upstream = self.host.echo_upstream(5000)
        self.addCleanup(self.upstream.close)
        self.start_proxy()
        self.staying = self.host.client(5001)
        self.addCleanup(self.staying.close)
        self.staying.ask("hello")

    def test_a_lock_whose_caller_dies_while_it_waits_is_taken_back(self):
        lock = self.lock_in_background("--timeout", "infinity")
        self.wait_for_gate("draining")
        with self.host.client(5001) as waiting:
            waiting.send("hello\n")
            self.assertTrue(waiting.is_silent(0.3))
            lock.kill()
            self.host.journal.wait(message_id=journal.LOCK_TAKEN_BACK, unit=PROXY)
            self.assertEqual(waiting.line(), "hello")
        self.assertEqual(self.status()["gate"], "open")

    def test_but_not_while_a_second_caller_waits_for_it(self):
        first = self.lock_in_background("--timeout", "infinity")
        self.wait_for_gate("draining")
        second = self.lock_in_background("--timeout", "infinity")
        self.assertEqual(self._callers(2), 2)
        first.kill()
        self.assertEqual(self._callers(1), 1)
        self.assertEqual(self.status()["gate"], "draining")
        self.staying.close()
        self.assertEqual(second.output()[0], 0)
        self.assertEqual(self.status()["gate"], "locked")

    def _callers(self, expected):
        return wait.until(lambda: (self.status()["lock"] or {}).get("callers") == expected and expected,
                          f"{expected} callers waiting")

    def test_ctrl_c_takes_it_back_too(self):
        lock = self.lock_in_background("--timeout", "infinity")
        self.wait_for_gate("draining")
        lock.kill(2)
        self.wait_for_gate("open")

    def test_a_lock_that_was_granted_stays_when_its_caller_has_ended(self):
        self.staying.close()
        self.ctl("lock")
        self.assertTrue(self.host.client(5001).is_silent(1))
        self.assertEqual(self.status()["gate"], "locked")

    def test_unlock_notifies_callers_that_wait_for_the_drain(self):
        lock = self.lock_in_background("--timeout", "infinity")
        self.wait_for_gate("draining")
        self.ctl("unlock")
        status, _, said = lock.output()
        self.assertEqual(status, 1, said)
        self.assertRegex(said, r"(?i)unlock|open")


class Lease(HostTest):
    def setUp(self):
        super().setUp()
        self.start_server()
        self.start_proxy()

    def test_when_it_is_over_the_gate_opens_and_the_journal_warns(self):
        self.ctl("lock", "--lease", "1s", "--reason", "forgotten")
        with self.host.client(5001) as waiting:
            waiting.send("hello\r\n")
            entry = self.host.journal.wait(message_id=journal.LEASE_OVER, unit=PROXY)
            self.assertEqual(entry["PRIORITY"], "4")
            self.assertEqual(waiting.line(), "Hello world!")
        self.assertEqual(self.status()["gate"], "open")

    def test_it_goes_on_while_the_proxy_is_dead(self):
        self.ctl("lock", "--lease", "2s")
        started = time.monotonic()
        self.host.systemctl("stop", PROXY)
        with self.host.client(5001) as waiting:
            waiting.send("hello\r\n")
            self.assertEqual(waiting.line(), "Hello world!")
        self.assertGreater(time.monotonic() - started, 1)
        self.assertLess(time.monotonic() - started, 4)
