"""Signals to a proxy with open connections: unless systemd stops it, all connections continue."""

from lab import case, journal, wait
from lab.keeping import PROXY
from lab.project import UNITS
from tests.keeping import PORT, ByHand

# Every signal with a fatal default action. (Real-time signals have no names in units.)
FATAL = ("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
         "XCPU", "XFSZ", "VTALRM", "PROF", "IO", "PWR", "SYS", "KILL")
# After these there is another process for certain. (Others may do nothing: SIGPIPE is ignored, and the standard
# library ignores the first SIGSEGV and SIGBUS, after its check for a stack overflow.)
ENDING = ("TERM", "INT", "KILL", "USR1", "ALRM")
KEPT_OVER_STOP = UNITS / "systemd-254" / "10-keep-over-stop.conf"


class SignalTest(ByHand):
    def assert_well(self):
        self.host.wait_for_state(PROXY, "active")
        self.assertEqual(self.host.show(PROXY, "Result"), "success")

    def wait_for_another(self, pid):
        wait.until(lambda: self.host.main_pid(PROXY) not in (0, pid), "another main process")
        self.host.wait_for_state(PROXY, "active")

    def assert_gone_on(self, signal, send, client, served):
        """Asserts that the connections continue after `send` has sent the signal."""
        with self.subTest(signal):
            pid = self.host.main_pid(PROXY)
            send(signal)
            if signal in ENDING:
                self.wait_for_another(pid)
            self.assert_connected(client, served)
            self.assert_well()


class WithConnections(SignalTest):
    def test_none_to_the_main_process_cuts_anybody(self):
        client, served = self.connect()
        for signal in FATAL:
            self.assert_gone_on(signal, lambda signal: self.host.kill(PROXY, signal), client, served)
        self.assertEqual(self.status()["open"], 1)

    def test_none_to_all_processes_cuts_anybody(self):
        client, served = self.connect()
        for signal in FATAL:
            self.assert_gone_on(signal, lambda signal: self.host.run(["systemctl", "kill", f"--signal={signal}", PROXY]),
                                client, served)

    def test_one_that_arrives_before_the_start_cuts_no_connection(self):
        client, served = self.connect()
        for signal in ("TERM", "INT", "HUP", "PIPE") * 5:
            pid = self.host.main_pid(PROXY)
            self.host.kill(PROXY, "TERM")
            wait.until(lambda: self.host.main_pid(PROXY) not in (0, pid), "another main process")
            self.host.run(["systemctl", "kill", "--kill-whom=main", f"--signal={signal}", PROXY], check=False)
            self.assert_connected(client, served)

    def test_where_the_unit_wants_no_heir_systemd_starts_the_next_one(self):
        client, served = self.connect(respawn="no")
        for signal in ("TERM", "INT"):
            self.assert_gone_on(signal, lambda signal: self.host.kill(PROXY, signal), client, served)
        self.assertEqual(int(self.host.show(PROXY, "NRestarts")), 2)

    def test_its_heir_has_also_whom_there_was_no_room_for(self):
        self.limit_room()
        connections = [self.connect()]
        wait.until(self.has_served_long_enough, "the time after which it has an heir")
        with self.no_room():
            connections.append(self.another())
            pid = self.host.main_pid(PROXY)
            self.host.kill(PROXY, "TERM")
            self.wait_for_another(pid)
            for client, served in connections:
                self.assert_connected(client, served)

    def has_served_long_enough(self):
        started = int(self.host.show(PROXY, "ActiveEnterTimestampMonotonic"))
        now = float(self.host.run(["cat", "/proc/uptime"]).split()[0])
        return now > started / 1e6 + 0.5

    @case.only_on("257")
    def test_a_stop_cuts_no_connection_if_the_unit_preserves_the_store(self):
        self.host.drop_in(PROXY, KEPT_OVER_STOP.read_text(), name="preserve")
        client, served = self.connect()
        self.host.systemctl("stop", PROXY)
        self.assertEqual(self.host.main_pid(PROXY), 0)
        client.send("while\n")
        self.host.systemctl("start", PROXY)
        self.assertEqual(served.line(), "while")
        self.assert_connected(client, served)
        self.assert_well()


class WithoutConnections(SignalTest):
    def test_it_ends_in_order_and_the_next_client_starts_it(self):
        client, served = self.connect()
        client.close()
        served.close()
        self.wait_for_open(0)
        self.host.kill(PROXY, "TERM")
        self.host.wait_for_state(PROXY, "inactive")
        self.assertEqual(self.host.show(PROXY, "Result"), "success")
        self.assertEqual(self.host.show(PROXY, "ExecMainStatus"), "0")
        self.assertEqual(self.stored(), 0)
        self.another()

    def test_a_lock_stays_and_waiting_clients_are_served_after_it(self):
        self.start_proxy()
        self.ctl("lock")
        waiting = self.host.client(PORT).send("hello\n")
        self.addCleanup(waiting.close)
        pid = self.host.main_pid(PROXY)
        self.host.kill(PROXY, "TERM")
        # A waiting client starts it again.
        self.wait_for_another(pid)
        self.assertEqual(self.status()["gate"], "locked")
        self.ctl("unlock")
        served = self.upstream.accept()
        self.addCleanup(served.close)
        self.assertEqual(served.line(), "hello")

    def test_one_that_keeps_nothing_ends_in_order(self):
        client, served = self.connect(keep_connections="no")
        self.host.kill(PROXY, "TERM")
        self.host.journal.wait(message_id=journal.STOPPING)
        self.assert_connected(client, served)
        client.close()
        served.close()
        self.host.wait_for_state(PROXY, "inactive")
        self.assertEqual(self.host.show(PROXY, "ExecMainStatus"), "0")
