"""services.disnix-tcp-proxy-inetd of nix/module.nix: programs for clients that are handed over."""

import re

from lab import journal
from lab.nixos import System
from lab.prerequisites import PROJECT
from tests.nixos_module import HEAD, Module
from tests.nixos_switch import LOCK, PROXY, NixosTest

COMMAND = "/bin/git daemon --inetd '/srv/100 %'"
UNIT = "disnix-tcp-proxy-inetd@git.service"
SOCKET = "disnix-tcp-proxy-inetd@git.socket"
PORT = 9418


def programs(target="handover:/run/disnix-tcp-proxy-inetd/git", **git):
    """A configuration with a program, and a proxy with this target."""
    return {"services": {
        "disnix-tcp-proxy": {"instances": {"web": {"listen": [PORT], "target": target}}},
        "disnix-tcp-proxy-inetd": {"git": {"command": COMMAND, **git}},
    }}


class Inetd(Module):
    OPTIONS = {
        "processesMax": (8, "PROCESSES_MAX=8"),
        "exitIdleTime": ("infinity", "EXIT_IDLE_TIME=infinity"),
        "drainTimeout": ("5min", "DRAIN_TIMEOUT=5min"),
        "logLevel": ("debug", "LOG_LEVEL=debug"),
    }

    def test_its_units_are_the_shipped_ones_and_the_proxy_may_send_there(self):
        command = f'Environment="DISNIX_TCP_PROXY_INETD_COMMAND={COMMAND.replace("%", "%%")}"'
        self.assertEqual(sorted(self.lines(programs(), UNIT)), sorted([*HEAD, command]))
        wanted = self.evaluate(programs(), "wanted")
        self.assertEqual(wanted["disnix-tcp-proxy-inetd@git.socket"], ["sockets.target"])
        self.assertEqual(wanted[UNIT], [])
        group = "SupplementaryGroups=disnix-tcp-proxy-handover"
        self.assertIn(group, self.lines(programs(), "disnix-tcp-proxy@web.service"))
        self.assertNotIn(group, self.lines(programs(target="127.0.0.1:80"), "disnix-tcp-proxy@web.service"))
        self.assertEqual(self.evaluate(programs(), "failed"), [])

    def test_each_option_is_a_variable_and_so_is_what_the_program_reads(self):
        options = {name: value for name, (value, _) in self.OPTIONS.items()}
        lines = self.lines(programs(**options, environment={"HOME": "/srv"}), UNIT)
        for line in [f"DISNIX_TCP_PROXY_INETD_{line}" for _, line in self.OPTIONS.values()] + ["HOME=/srv"]:
            self.assertIn(f'Environment="{line}"', lines)

    def test_every_option_of_the_program_is_there_and_in_the_document(self):
        source = (PROJECT / "src/inetd/options.rs").read_text()
        variables = re.findall(r'env = "DISNIX_TCP_PROXY_INETD_(\w+)"', source)
        known = {line.partition("=")[0] for _, line in self.OPTIONS.values()}
        self.assertEqual(set(variables) - {"HANDOVER"}, known)
        document = (PROJECT / "doc/nixos.md").read_text()
        table = document.split("`services.disnix-tcp-proxy-inetd.<name>`")[1].split("\n## ")[0]
        rows = set(re.findall(r"(?m)^\| `(\w+)` \|", table))
        self.assertEqual(rows, {"enable", "command", "environment", *self.OPTIONS})

    def test_what_is_refused_is_named(self):
        for configuration, sentence in (
            (programs(command="git daemon"), "git.command must begin with the whole path"),
            (programs(target="handover:/run/disnix-tcp-proxy-inetd/got"), "no\nservices.disnix-tcp-proxy-inetd.got"),
            (programs(enable=False), "no\nservices.disnix-tcp-proxy-inetd.git"),
        ):
            failed = self.evaluate(configuration, "failed")
            self.assertEqual(len(failed), 1, failed)
            self.assertIn(sentence, failed[0])


class OnSystemd(NixosTest):
    """The generated units, started."""

    def system(self, greeting, changed=False, **lock):
        """A program that greets each client and repeats what it says."""
        command = """/bin/sh -c 'echo "$GREETING"; exec cat'"""
        configuration = programs(command=command, environment={"GREETING": greeting})
        configuration["services"]["disnix-tcp-proxy"]["instances"]["web"]["lock"] = lock
        return System(self.nix, configuration, changed)

    def test_a_lock_waits_for_the_program_of_a_client_and_the_next_one_gets_that_of_the_new_configuration(self):
        self.switch.to(self.system("100 %"))
        self.assertEqual((self.host.state(SOCKET), self.host.state(UNIT)), ("active", "inactive"))
        with self.host.client(PORT) as client:
            self.assertEqual(client.line(), "100 %")
            lock = self.host.start(["disnix-tcp-proxyctl", "--instance=web", "lock"])
            self.wait_for_gate("draining")
            waiting = self.host.client(PORT)
            self.addCleanup(waiting.close)
            self.assertEqual(client.ask("word"), "word")
            self.assertTrue(lock.is_running())
        self.assertEqual(lock.wait(), 0)
        done = self.switch.to(self.system("the next one", changed=True))
        self.assertEqual(done["restart"], {PROXY, UNIT})
        self.assertTrue(waiting.is_silent(0.3))
        self.web("unlock")
        self.assertEqual(waiting.line(), "the next one")

    def test_with_a_lock_for_it_a_restart_waits_for_programs_and_a_crash_holds_up_nobody(self):
        self.switch.to(self.system("welcome", services=[UNIT.removesuffix(".service")]))
        with self.host.client(PORT) as client:
            self.assertEqual(client.line(), "welcome")
            self.host.wait_for_state(LOCK, "active")
            restart = self.host.start(["systemctl", "restart", UNIT])
            self.wait_for_gate("draining")
            waiting = self.host.client(PORT)
            self.addCleanup(waiting.close)
            self.assertEqual(client.ask("word"), "word")
        self.assertEqual(restart.wait(), 0)
        self.assertEqual(waiting.line(), "welcome")
        self.host.wait_for_state(LOCK, "active")
        self.host.kill(UNIT)
        with self.host.crowd(PORT, 5) as crowd:
            self.assertEqual(set(crowd.answers()), {"welcome"})
        self.assertEqual(len(self.host.journal.entries(message_id=journal.LOCKED, unit=PROXY)), 1)
