"""A client waits, and the service cannot be started for a reason outside its program: systemd retries at
intervals, without load, and the client is served when the reason is gone."""

from lab import wait
from lab.case import HostTest

PROXY, SERVER = "disnix-tcp-proxy.service", "hello-world-server.service"
PAUSE = "hello-world-server-pause.service"
INETD = "disnix-tcp-proxy-inetd@test.service"

# "A start job for a unit has finished successfully", systemd's catalog.
STARTED = "39f53479d3a045ac8e11786248231fbf"


def pause_of(unit):
    """The pause before the next start of a service."""
    name, at, instance = unit.removesuffix(".service").partition("@")
    return f"{name}-pause{at}{instance}.service"


class FailingStarts(HostTest):
    def setUp(self):
        super().setUp()
        self.start_server()

    def _pauses(self, unit):
        """How many pauses before the next start of this service have ended."""
        entries = self.host.journal.entries(message_id=STARTED)
        return sum(entry.get("UNIT") == pause_of(unit) for entry in entries)

    def _is_bounded_and_served_at_last(self, port, unit, mend):
        before = len(self.host.journal.entries())
        with self.host.client(port, timeout=30) as client:
            client.send("hello\r\n")
            wait.until(lambda: self._pauses(unit) >= 3, "three pauses", 30)
            # Each is two seconds long.
            lines = len(self.host.journal.entries()) - before
            print(f"{lines} lines in three pauses")
            self.assertLess(lines, 150)
            self.assertEqual(self.host.state(unit.replace(".service", ".socket")), "active")
            mend()
            self.assertEqual(client.line(), "Hello world!")

    def _without(self, unit):
        """Removes the drop-in of a test."""
        self.host.drop_in(unit, "")

    def test_a_service_that_is_required_fails(self):
        self.start_proxy()
        self.host.write("/etc/systemd/system/thing.service",
                        "[Unit]\nStopWhenUnneeded=yes\nStartLimitIntervalSec=0\n[Service]\nType=exec\nExecStart=/nonexistent\n")
        self.host.drop_in(PROXY, "[Unit]\nRequires=thing.service\nAfter=thing.service\n")

        def mend():
            self.host.drop_in("thing.service", "[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n")
            self.host.systemctl("reset-failed", "thing.service")

        self._is_bounded_and_served_at_last(5001, PROXY, mend)

    def test_the_user_cannot_be(self):
        self.start_proxy()
        self.host.run(["groupadd", "dtp-default"])
        self.host.drop_in(PROXY, "[Service]\nUser=dtp-default\n")
        self._is_bounded_and_served_at_last(5001, PROXY, lambda: self._without(PROXY))

    def test_the_directory_of_the_state_cannot_be_made(self):
        self.start_proxy()
        self.host.run(["mkdir", "--mode=700", "--parents", "/var/lib/private/disnix-tcp-proxy"])
        file = "/var/lib/private/disnix-tcp-proxy/default"
        self.host.write(file, "")
        self._is_bounded_and_served_at_last(5001, PROXY, lambda: self.host.run(["rm", file]))

    def test_the_program_of_the_server_is_missing(self):
        self.host.run(["mv", "/usr/bin/hello-world-server", "/usr/bin/away"])
        self._is_bounded_and_served_at_last(
            5000, SERVER, lambda: self.host.run(["mv", "/usr/bin/away", "/usr/bin/hello-world-server"]))

    def test_the_user_of_programs_for_clients_is_not_there(self):
        self.host.write("/etc/disnix-tcp-proxy/inetd/test.env",
                        "DISNIX_TCP_PROXY_INETD_COMMAND=sh -c 'read line; echo Hello world!'\n")
        self.host.drop_in(INETD, "[Service]\nDynamicUser=no\nUser=nobody-has-this-name\n")
        self.host.drop_in(PROXY, "[Service]\nSupplementaryGroups=disnix-tcp-proxy-handover\n", name="handover")
        self.host.systemctl("start", INETD.replace(".service", ".socket"))
        self.start_proxy("handover:/run/disnix-tcp-proxy-inetd/test")
        self._is_bounded_and_served_at_last(5001, INETD, lambda: self._without(INETD))

    def test_a_caller_of_the_control_socket_waits_too(self):
        self.host.drop_in(PROXY, "[Service]\nUser=dtp-default\n")
        self.host.run(["groupadd", "dtp-default"])
        self.start_proxy()
        caller = self.host.start(["disnix-tcp-proxyctl", "status", "--wake"])
        wait.until(lambda: self._pauses(PROXY) >= 2, "two pauses", 30)
        self._without(PROXY)
        self.assertEqual(caller.wait(30), 0)

    def test_a_condition_is_not_met(self):
        """systemd does not count this as a failure, so there is no pause: it closes the socket, which resets
        the waiting clients, and opens it again."""
        self.host.drop_in(PROXY, "[Unit]\nConditionPathExists=/run/wanted\n")
        self.start_proxy()
        self._is_reset(5001)
        self.host.write("/run/wanted", "")
        wait.until(self._is_served, "the port to be open again")
        lines = len(self.host.journal.entries())
        print(f"{lines} lines")
        self.assertLess(lines, 1000)

    def _is_reset(self, port):
        """A client that connects now is reset, perhaps before it knows that it is connected."""
        try:
            with self.host.client(port, timeout=30) as client:
                self.assertTrue(client.is_reset())
        except ConnectionResetError:
            pass

    def _is_served(self):
        try:
            return self.host.client(5001).ask("hello") == "Hello world!"
        except ConnectionError:
            return False

    def test_sockets_that_are_being_closed_stay_closed_when_the_stop_fails(self):
        self.host.drop_in(SERVER, "[Service]\nExecStopPost=/bin/false\n")
        self.assertEqual(self.host.client(5000).ask("hello"), "Hello world!")
        self.host.systemctl("stop", "hello-world-server.socket", SERVER)
        self.assertEqual(self.host.state(SERVER), "failed")
        self.assertEqual(self.host.state("hello-world-server.socket"), "inactive")
        self.host.systemctl("reset-failed", SERVER)

    def test_a_socket_that_is_stopped_during_a_pause_stays_closed(self):
        self.host.drop_in(SERVER, "[Unit]\nConditionPathExists=/run/wanted\n")
        self._is_reset(5000)
        self.host.wait_for_state(PAUSE, "activating")
        self.host.systemctl("stop", "hello-world-server.socket")
        self.assertEqual(self.host.state(PAUSE), "inactive")
        self.assertEqual(self.host.state("hello-world-server.socket"), "inactive")
