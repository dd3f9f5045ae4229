"""Open connections outlive the proxy's process: whatever ends it, the next one continues them.

Short versions; `measure -k keeping` takes a minute for each."""

import secrets

from lab import journal, upstreams, wait
from lab.case import heavy
from lab.disturbances import (KillDuringRestore, KillEverything, KillMain, KillWhileUpstreamIsDown, Restart,
                              Upgrade, UpgradeByKill)
from lab.hoard import hoard, hoard_of_pipes
from lab.keeping import PROXY, KeepingTest, another_program
from lab.subjects import Ours

SECONDS = 8
PORT = 5001
# Clients that are parked at once (workers/acceptor.rs).
PARKED_TOGETHER = 8
# A low limit of descriptors in flight.
ROOM = 512
# As much as several hosts on a small machine can have.
LOAD = {"streams": 80, "sizes": "1-1000000", "talkers": 20, "packets": 3000, "idle": 50, "idle_packets": 200}


class UnderLoad(KeepingTest):
    """Every byte of every connection is checked."""

    def _keeps(self, disturbance, turns, new=0, subject=None, load=None, **arguments):
        run = self.disturb(subject or Ours(threads="2"), disturbance, SECONDS, load={**LOAD, **(load or {})}, **arguments)
        self.assert_disturbed(run, turns)
        self.assert_nothing_lost(run, new)
        self.assert_proxy_is_well()
        print(f"{run.outcome.opened} connections, {run.disturbance.name} {run.disturbance.turns} times: 0 lost; "
              f"longest pause {run.outcome.longest_pause:.0f} ms")

    @heavy
    def test_kills_of_the_main_process_lose_nothing(self):
        self._keeps(KillMain, turns=10)

    @heavy
    def test_kills_with_one_thread_lose_nothing(self):
        self._keeps(KillMain, turns=10, subject=Ours(threads="1"))

    @heavy
    def test_kills_lose_nothing_where_clients_reset_their_connections(self):
        self._keeps(KillMain, turns=10, load={"resets": 4})

    @heavy
    def test_kills_of_everything_lose_no_established_connection(self):
        # One kill in fifty meets clients that are being accepted (measurements/keeping.py counts that over
        # many). On a busy machine clients arrive together: then it can be all that are parked at once.
        self._keeps(KillEverything, turns=10, new=3 * PARKED_TOGETHER)

    @heavy
    def test_restarts_lose_nothing(self):
        self._keeps(Restart, turns=5)

    @heavy
    def test_kills_during_the_restore_lose_nothing(self):
        self._keeps(KillDuringRestore, turns=6)

    @heavy
    def test_upgrades_to_another_program_lose_nothing(self):
        self._keeps(Upgrade, turns=4, builds=another_program(self.host), path="/usr/bin/disnix-tcp-proxy")

    @heavy
    def test_a_kill_upgrades_to_another_program_and_loses_nothing(self):
        self._keeps(UpgradeByKill, turns=4, builds=another_program(self.host), path="/usr/bin/disnix-tcp-proxy")

    @heavy
    def test_kills_leave_a_proxy_header_of_version_1_whole(self):
        self._keeps(KillMain, turns=10, subject=Ours(threads="2", proxy_protocol="v1"), load={"header": "v1"})

    @heavy
    def test_kills_leave_a_proxy_header_of_version_2_whole(self):
        self._keeps(KillMain, turns=10, subject=Ours(threads="2", proxy_protocol="v2"), load={"header": "v2"})

    @heavy
    def test_kills_while_the_upstream_is_down_lose_nothing(self):
        self._keeps(KillWhileUpstreamIsDown, turns=5)

    def _keeps_where_the_upstream_has_a_local_socket(self, **load):
        self.host.run(["mkdir", "-p", "/run/verified"])
        upstream = "unix:/run/verified/upstream"
        self._keeps(KillMain, turns=10, subject=Ours(threads="2", target=upstream), load={"upstream": upstream, **load})

    @heavy
    def test_kills_lose_nothing_where_the_upstream_has_a_local_socket(self):
        self._keeps_where_the_upstream_has_a_local_socket()

    @heavy
    def test_kills_lose_nothing_there_where_the_user_of_the_proxy_gets_small_pipes_only(self):
        # The number of its user is the same each time: it is made from the user's name.
        Ours().start(self.host)
        uid = self.uid_of_proxy()
        self.host.systemctl("stop", PROXY)
        with hoard_of_pipes(uid):
            # Many transfers, so that some are under way at each kill.
            self._keeps_where_the_upstream_has_a_local_socket(packets=10000)

    @heavy
    def test_kills_lose_no_client_that_is_handed_over(self):
        path = "/run/verified/handover"
        self.host.run(["mkdir", "-p", "-m", "0777", "/run/verified"])
        self.host.drop_in(PROXY, "[Service]\nReadWritePaths=/run/verified\n", name="handover")
        service = Ours(target=f"handover:{path}")
        self._keeps(KillMain, turns=10, subject=service, load={"upstream": f"handover:{path}"})


class ByHand(KeepingTest):
    """Clients and an upstream in the test's own process."""

    def setUp(self):
        super().setUp()
        self.upstream = self.host.upstream(5000)
        self.addCleanup(self.upstream.close)

    def connect(self, **options):
        """A client and the end of its connection at the upstream."""
        self.start_proxy(**options)
        return self.another()

    def another(self):
        client = self.host.client(PORT)
        served = self.upstream.accept()
        self.addCleanup(client.close)
        self.addCleanup(served.close)
        self.assert_connected(client, served)
        return client, served

    def assert_connected(self, client, served):
        for source, sink in ((client, served), (served, client)):
            source.send("line\n")
            self.assertEqual(sink.line(), "line")

    def kill(self):
        """Kills the main process and waits for the next one."""
        pid = self.host.main_pid(PROXY)
        self.host.kill(PROXY)
        wait.until(lambda: self.host.main_pid(PROXY) not in (0, pid), "another main process")
        self.host.wait_for_state(PROXY, "active")

    def limit_room(self):
        """Prevents a last will; called before the start."""
        # No proxy in another container has this user ID.
        user = f"proxy-{secrets.token_hex(8)}"
        self.host.drop_in(PROXY, f"[Service]\nLimitNOFILE={ROOM}\nUser={user}\n", name="short")

    def no_room(self):
        """No new client can be parked in this block."""
        return hoard(self.uid_of_proxy(), ROOM + 1)

    def leave_nobody_for_a_second(self):
        """Kills the process and its will."""
        self.host.drop_in(PROXY, "[Service]\nRestartSec=1s\n", name="slow")
        self.host.run(["systemctl", "kill", "--signal=KILL", PROXY])

    def assert_ended(self, *peers):
        """Asserts that nothing more arrives, whether as an end or a reset."""
        for peer in peers:
            peer.is_reset()


class OneConnection(ByHand):
    """Asserts the same for all of them."""

    def test_it_goes_on_after_a_kill(self):
        client, served = self.connect()
        for _ in range(3):
            self.kill()
            self.assert_connected(client, served)
        self.assertEqual(self.status()["open"], 1)
        client.close()
        self.assertEqual(served.rest(), b"")
        served.close()
        self.wait_for_open(0)

    def test_it_counts_for_its_source_in_the_next_process(self):
        client, served = self.connect(connections_max_per_source="1")
        for _ in range(2):
            # The reset may arrive before the connect has returned.
            with self.assertRaises(ConnectionResetError), self.host.client(PORT) as one_more:
                one_more.rest()
            self.kill()
        self.assert_connected(client, served)

    def test_without_keeping_a_kill_ends_it(self):
        client, served = self.connect(keep_connections="no")
        self.kill()
        self.assert_ended(client)
        self.assertEqual(self.stored(), 0)

    def test_what_comes_while_there_is_no_process_is_delivered(self):
        client, served = self.connect()
        self.leave_nobody_for_a_second()
        client.send("while\n")
        served.send("nobody is there\n")
        self.assertEqual(served.line(), "while")
        self.assertEqual(client.line(), "nobody is there")

    def test_an_end_that_comes_while_there_is_no_process_is_delivered(self):
        (client, served), (other_client, other_served) = self.connect(), self.another()
        self.leave_nobody_for_a_second()
        client.send("last words\n").finish()
        other_served.send("other last words\n").finish()
        self.assertEqual(served.rest(), b"last words\n")
        self.assertEqual(other_client.rest(), b"other last words\n")
        served.send("answer\n").close()
        self.assertEqual(client.rest(), b"answer\n")

    def test_a_reset_that_comes_while_there_is_no_process_ends_the_other_side(self):
        client, served = self.connect()
        self.leave_nobody_for_a_second()
        client.reset()
        self.assert_ended(served)
        self.wait_for_open(0)

    def test_one_whose_client_has_half_closed_gets_its_answer_after_a_kill(self):
        client, served = self.connect()
        client.send("question").finish()
        self.assertEqual(served.rest(), b"question")
        self.kill()
        served.send("answer")
        self.assertEqual(client.socket.recv(6), b"answer")
        self.kill()
        served.close()
        self.assertEqual(client.rest(), b"")
        self.wait_for_open(0)

    def test_one_whose_upstream_has_half_closed_is_heard_after_a_kill(self):
        client, served = self.connect()
        served.send("greeting").finish()
        self.assertEqual(client.rest(), b"greeting")
        self.kill()
        client.send("thanks").finish()
        self.assertEqual(served.rest(), b"thanks")
        self.wait_for_open(0)

    def test_one_that_waits_for_an_upstream_that_is_down_is_served_after_a_kill(self):
        self.start_proxy()
        self.another()
        away = upstreams.Away(self.host.network, 5000)
        waiting = self.host.client(PORT).send("hello\n")
        self.addCleanup(waiting.close)
        self.wait_for_open(2)
        for _ in range(2):
            self.kill()
            self.wait_for_open(2)
        away.is_back()
        served = self.upstream.accept()
        self.addCleanup(served.close)
        self.assertEqual(served.line(), "hello")
        self.assert_connected(waiting, served)

    def test_a_stop_cuts_it_and_empties_the_store(self):
        client, served = self.connect(drain_timeout="0")
        self.host.systemctl("stop", PROXY)
        self.assertEqual((client.is_reset(), served.is_reset()), (True, True))
        self.assertEqual(self.stored(), 0)
        self.another()

    def test_it_keeps_the_proxy_from_an_idle_exit_which_leaves_nothing_behind(self):
        client, served = self.connect(exit_idle_time="300ms")
        self.kill()
        self.assertTrue(client.is_silent(1))
        self.assertEqual(self.host.state(PROXY), "active")
        self.assert_connected(client, served)
        client.close()
        served.close()
        self.host.journal.wait(message_id=journal.IDLE_EXIT)
        self.host.wait_for_state(PROXY, "inactive")
        self.assertEqual(self.stored(), 0)
        self.another()

    def test_the_process_has_no_privileges(self):
        client, served = self.connect()
        self.kill()
        status = self.host.process_status(self.host.main_pid(PROXY))
        self.assertNotIn("0", status["Uid"].split())
        self.assertEqual(int(status["CapEff"], 16), 0)
        self.assert_connected(client, served)

    def test_many_connections_take_few_places_in_the_store(self):
        client, served = self.connect()
        before = self.stored()
        for _ in range(200):
            self.another()
        self.kill()
        self.assert_connected(client, served)
        self.assertEqual(self.stored(), before)


class Room(ByHand):
    """The kernel limits the descriptors in flight of each user."""

    def test_whom_there_is_no_room_for_is_announced_and_kept_as_soon_as_there_is(self):
        self.limit_room()
        connections = [self.connect()]
        with self.no_room():
            connections.append(self.another())
            # Logged once, for the first of them.
            entry = self.announcement()
            self.assertEqual(int(entry["OPEN"]), 1, entry)
            self.assertIn("1 connection is not safe", entry["MESSAGE"])
            self.assertIn("raise LimitNOFILE=", entry["MESSAGE"])
            connections += [self.another(), self.another()]
        self.announcement("all connections are safe")
        # The lot alone has them.
        self.host.run(["systemctl", "kill", "--signal=KILL", PROXY])
        for client, served in connections:
            self.assert_connected(client, served)

    def announcement(self, what="not safe"):
        def entries():
            said = self.host.journal.entries(message_id=journal.KEEPS, unit=PROXY)
            return [entry for entry in said if what in entry["MESSAGE"]]

        wait.until(entries, f"the journal to say: {what}")
        entry, = entries()
        return entry


class Gate(ByHand):
    """The gate counts kept connections."""

    def test_a_drain_goes_on_counting_over_kills(self):
        client, served = self.connect()
        lock = self.lock_in_background("--timeout", "infinity")
        self.wait_for_gate("draining")
        for _ in range(2):
            self.kill()
            self.wait_for_gate("draining")
            self.assertEqual(self.status()["open"], 1)
            self.assert_connected(client, served)
            self.assertTrue(lock.is_running())
        client.close()
        self.assertEqual(served.rest(), b"")
        served.close()
        self.assertEqual(lock.wait(), 0)
        self.assertEqual(self.status()["gate"], "locked")

    def test_clients_that_wait_at_the_gate_over_kills_are_served_after_unlock(self):
        self.start_proxy()
        self.ctl("lock")
        with self.host.crowd(PORT, 20) as crowd:
            crowd.send("hello")
            for _ in range(2):
                self.kill()
                self.assertEqual(self.status()["gate"], "locked")
                self.assertEqual(self.status()["open"], 0)
            self.assertTrue(crowd.is_silent(0.3))
            self.ctl("unlock")
            for _ in range(20):
                served = self.upstream.accept()
                self.addCleanup(served.close)
                self.assertEqual(served.line(), "hello")

    def test_idle_connections_can_be_ended_after_a_kill_too_but_none_whose_client_waits_for_a_reply(self):
        asking, serving = self.connect()
        idle, served = self.another()
        # The kernel's times do not distinguish who was the last to send, if that is within a tick of its clock.
        asking.send("question\n")
        self.assertEqual(serving.line(), "question")
        self.kill()
        lock = self.lock_in_background("--close-idle", "300ms")
        # In order, on both sides, although systemd keeps copies of the sockets.
        self.assertEqual((idle.rest(), served.rest()), (b"", b""))
        self.assertTrue(asking.is_silent(1))
        serving.send("reply\n")
        self.assertEqual(asking.line(), "reply")
        self.assertEqual((asking.rest(), serving.rest()), (b"", b""))
        self.assertEqual(lock.wait(), 0)

    def test_a_connection_can_be_closed_after_a_kill_too(self):
        client, served = self.connect()
        self.kill()
        self.ctl("lock", "--force-after", "0", timeout=20)
        self.assert_ended(client, served)
        self.assertEqual(self.status()["open"], 0)
