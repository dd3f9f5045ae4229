"""A real service that knows nothing of socket activation, started by its first client."""

import threading

from lab import project, wait
from lab.case import HostTest, heavy, times


class Redis(HostTest):
    """systemd-units/examples/redis-scale-to-zero."""

    def setUp(self):
        super().setUp()
        project.install_example(self.host, "redis-scale-to-zero")
        sockets = sorted((project.UNITS / "examples/redis-scale-to-zero").glob("*.socket"))
        self.sockets = [path.name for path in sockets]
        self.host.systemctl("start", *self.sockets)
        self.port = self._port()

    def _port(self):
        for name in self.sockets:
            for word in self.host.show(name, "Listen").split():
                if word.rpartition(":")[2].isdigit():
                    return int(word.rpartition(":")[2])
        raise AssertionError(f"none of {self.sockets} listens on a port")

    def _is_gone(self):
        return not self.host.run(["sh", "-c", "cat /proc/[0-9]*/comm | grep -E '^(redis|disnix)' || :"])

    def _ping(self):
        with self.host.client(self.port, timeout=30) as client:
            self.assertEqual(client.send("PING\r\n").line(), "+PONG")

    def test_the_first_client_starts_it_and_it_is_gone_after_the_last(self):
        self.assertTrue(self._is_gone())
        self._ping()
        self.assertFalse(self._is_gone())
        wait.until(self._is_gone, "redis and its proxy to be gone", 60)
        self._ping()

    @heavy
    def test_two_hundred_cycles_lose_nobody(self):
        # The example waits as long as people like; a test is in a hurry.
        for service in self.host.run(["systemctl", "list-units", "--all", "--plain", "--no-legend",
                                      "disnix-tcp-proxy*.service", "redis*.service"]).split():
            if service.startswith("disnix-tcp-proxy") and service.endswith(".service"):
                self.host.drop_in(service, '[Service]\nEnvironment="DISNIX_TCP_PROXY_EXIT_IDLE_TIME=0"\n')
        cycles = times(200)
        failures = []

        def client():
            try:
                self._ping()
            except Exception as error:
                failures.append(repr(error))

        for _ in range(cycles):
            pair = [threading.Thread(target=client) for _ in range(2)]
            for one in pair:
                one.start()
            for one in pair:
                one.join()
            wait.until(self._is_gone, "redis and its proxy to be gone", 30)
        self.assertEqual(failures, [])
        print(f"{2 * cycles} clients over {cycles} cycles: none lost")
