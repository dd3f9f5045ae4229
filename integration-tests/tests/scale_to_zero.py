"""A real service without socket activation, started for its first client."""

import threading

from lab import project, wait
from lab.case import HostTest, heavy, times

PORT = 6379
SOCKET = "disnix-tcp-proxy@redis.socket"
SERVICES = ("disnix-tcp-proxy@redis.service", "redis-server.service")
OPTIONS = "/etc/disnix-tcp-proxy/redis.env"


class Redis(HostTest):
    """systemd-units/examples/redis-scale-to-zero, with redis-server from Debian."""

    def start_redis(self, idle_time):
        project.install_example(self.host, "redis-scale-to-zero")
        # Shorter than in the recipe.
        self.host.write(OPTIONS, self.host.read(OPTIONS) +
                        f"DISNIX_TCP_PROXY_EXIT_IDLE_TIME={idle_time}\n")
        self.host.systemctl("start", SOCKET)

    def _states(self):
        shown = self.host.run(["systemctl", "show", "--property=ActiveState", "--value", *SERVICES])
        return set(shown.split())

    def _wait_until_gone(self):
        wait.until(lambda: self._states() == {"inactive"}, "redis and its proxy to be gone", 30)

    def _ping(self):
        with self.host.client(PORT, timeout=30) as client:
            self.assertEqual(client.send("PING\r\n").line(), "+PONG")

    def test_the_first_client_starts_it_and_it_is_gone_after_the_last(self):
        self.start_redis(idle_time="1s")
        self.assertEqual(self._states(), {"inactive"})
        with self.host.client(PORT) as client:
            self.assertEqual(client.send("SET name value\r\n").line(), "+OK")
            self.assertEqual(self._states(), {"active"})
        self._wait_until_gone()
        self._ping()

    def test_it_stays_while_a_client_is_connected(self):
        self.start_redis(idle_time="200ms")
        with self.host.client(PORT) as client:
            client.send("PING\r\n").line()
            self.assertTrue(client.is_silent(2))
            self.assertEqual(client.send("PING\r\n").line(), "+PONG")

    def test_it_is_started_again_when_it_ends_while_the_proxy_runs(self):
        self.start_redis(idle_time="1min")
        for end in (["kill", "--kill-who=main", "--signal=TERM"], ["kill", "--kill-who=main", "--signal=KILL"], ["stop"]):
            with self.subTest(end):
                self._ping()
                before = self.host.main_pid("redis-server.service")
                self.host.systemctl(*end, "redis-server.service")
                wait.until(lambda: self.host.main_pid("redis-server.service") not in (0, before), "redis to be back")
                self._ping()

    def test_it_stays_stopped_while_it_is_masked(self):
        """An upgrade as in doc/scale-to-zero.md loses no client."""
        self.start_redis(idle_time="1min")
        self._ping()
        self.ctl("--instance", "redis", "lock")
        with self.host.client(PORT, timeout=30) as waiting:
            waiting.send("PING\r\n")
            self.host.systemctl("mask", "--runtime", "--now", "redis-server.service")
            self.assertTrue(waiting.is_silent(1))
            self.assertEqual(self.host.state("redis-server.service"), "inactive")
            self.host.systemctl("unmask", "--runtime", "redis-server.service")
            self.host.systemctl("start", "redis-server.service")
            self.ctl("--instance", "redis", "unlock")
            self.assertEqual(waiting.line(), "+PONG")

    @heavy
    def test_fifty_cycles_lose_no_client(self):
        self.start_redis(idle_time="0")
        cycles, failures = times(50), []

        def client():
            try:
                self._ping()
            except Exception as error:
                failures.append(repr(error))

        for _ in range(cycles):
            # The first starts it; the second arrives while it starts, runs or exits.
            pair = [threading.Thread(target=client) for _ in range(2)]
            for one in pair:
                one.start()
            for one in pair:
                one.join()
            self._wait_until_gone()
        self.assertEqual(failures, [])
        print(f"{2 * cycles} clients over {cycles} cycles: none lost")
