"""disnix-tcp-proxy-inetd: a program for each client, directly."""

import json
import re
import shutil
import subprocess

from lab import case, prerequisites, project, roots, wait
from lab.case import HostTest, only_on

PROXY = "disnix-tcp-proxy.service"
INETD, INETD_SOCKET = "disnix-tcp-proxy-inetd@test.service", "disnix-tcp-proxy-inetd@test.socket"
PORT = 5001


class Inetd(HostTest):
    """disnix-tcp-proxy-inetd@.service: a program for each client."""

    def start(self, command):
        self.host.write("/etc/disnix-tcp-proxy/inetd/test.env", f"DISNIX_TCP_PROXY_INETD_COMMAND={command}\n")
        self.host.drop_in(PROXY, "[Service]\nSupplementaryGroups=disnix-tcp-proxy-handover\n", name="handover")
        self.host.configure("disnix-tcp-proxy", target="handover:/run/disnix-tcp-proxy-inetd/test")
        self.host.systemctl("start", INETD_SOCKET, "disnix-tcp-proxy.socket", "disnix-tcp-proxy-control.socket")

    def test_the_first_client_starts_the_program_and_a_lock_waits_for_its_end(self):
        self.start("cat")
        self.assertEqual(self.host.state(INETD), "inactive")
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("word"), "word")
            lock = self.lock_in_background()
            self.wait_for_gate("draining")
            waiting = self.host.client(PORT)
            self.assertEqual(client.ask("still"), "still")
            self.assertTrue(lock.is_running())
        self.assertEqual(lock.wait(), 0)
        waiting.send("later\r\n")
        self.assertTrue(waiting.is_silent(0.3))
        self.ctl("unlock")
        self.assertEqual(waiting.line(), "later")

    def test_a_stop_lets_programs_end_and_a_kill_ends_them(self):
        self.start("cat")
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("word"), "word")
            stop = self.host.start(["systemctl", "stop", INETD])
            self.host.wait_for_state(INETD, "deactivating")
            self.assertEqual(client.ask("still"), "still")
        self.assertEqual(stop.wait(), 0)
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("again"), "again")
            self.host.kill(INETD)
            self.assertEqual(client.rest(), b"")
        self.wait_for_open(0)
        self.assertEqual(self.host.client(PORT).ask("again"), "again")

    def test_systemd_divides_the_command_into_words_and_the_program_knows_its_client(self):
        self.start("""sh -c 'echo "$REMOTE_ADDR"'""")
        self.assertEqual(self.host.client(PORT).line(), "127.0.0.1")


# Each server waits here in the middle of its work, until a line is written.
HOLD = "/srv/hold"

# What is served.
CONTENT = f"""
umask 022
mkfifo {HOLD}
mkdir -p /srv/files /srv/git/project
echo content | tee /srv/files/file >/srv/git/project/file
cd /srv/git/project
git init --quiet
git add file
git -c user.name=test -c user.email=test@example.org commit --quiet --message=first
mkdir -p -m 700 /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
"""

# Where the servers wait: before git packs objects, before rsync transfers. The command of ssh waits itself.
GIT_HOLDS = """GIT_CONFIG_COUNT=2
GIT_CONFIG_KEY_1=uploadpack.packObjectsHook
GIT_CONFIG_VALUE_1=/usr/local/bin/hold
"""
HOOK = f"""#!/bin/sh
read line <{HOLD}
exec "$@"
"""
RSYNC_HOLDS = f"    pre-xfer exec = read line <{HOLD}\n"

SSH = "ssh -p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

# For each proxy: the program of the server, and a client that shows the content.
PROGRAMS = {
    "git": ("/usr/bin/git", "git clone --quiet git://127.0.0.1/srv/git/project . && cat file"),
    "ssh": ("/usr/sbin/sshd", f"{SSH} root@127.0.0.1 'read line <{HOLD}; cat /srv/files/file'"),
    "rsync": ("/usr/bin/rsync", "rsync rsync://127.0.0.1/files/file . && cat file"),
}


def documented():
    """The commands of doc/handover.md that set up the programs."""
    text = (prerequisites.PROJECT / "doc/handover.md").read_text()
    section = text.split("### Programs on standard input and output\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?ms)^```\n(.*?)^```$", section)
    return [block for block in blocks if "systemctl enable" in block]


@only_on("257")
class RealPrograms(HostTest):
    """git, sshd and rsync, as doc/handover.md sets them up."""

    def setUp(self):
        root = roots.root(case.surroundings.version, roots.FURTHER_PACKAGES)
        # Installed here: its layer for other tests has the users of another root.
        self.host = self.boot(layers=[root])
        project.install(self.host, prerequisites.target_directory() / "release")
        self.host.run(["sh", "-euc", CONTENT])
        # PAM wants more of a session than this host has.
        self.host.write("/etc/ssh/sshd_config.d/test.conf", "UsePAM no\n")
        shutil.copytree(project.UNITS, self.host.machine.path("/srv/checkout/systemd-units"))
        for commands in documented():
            self.host.run(["sh", "-euc", f"cd /srv/checkout\n{commands}"])
        self.host.write("/usr/local/bin/hold", HOOK, mode=0o755)
        for path, text in (("/etc/disnix-tcp-proxy/inetd/git.env", GIT_HOLDS), ("/etc/rsyncd.conf", RSYNC_HOLDS)):
            self.host.write(path, self.host.read(path) + text)

    def test_a_lock_waits_for_a_clone_a_session_and_a_transfer_and_the_next_ones_wait_for_the_new_version(self):
        for name, (server, command) in PROGRAMS.items():
            with self.subTest(name):
                self._is_upgraded_between_clients(name, server, command)

    def _is_upgraded_between_clients(self, name, server, command):
        served = self._client(command)
        self._wait_for(name, "open", 1)
        lock = self.host.start(["disnix-tcp-proxyctl", "--instance", name, "lock"])
        self._wait_for(name, "gate", "draining")
        waiting = self._client(command)
        self._wait_for(name, "queued", 1)
        self.assertTrue(lock.is_running() and served.is_running())
        self._let_go_on()
        self._has_got_the_content(served)
        self.assertEqual(lock.wait(), 0)
        # As a package replaces it.
        self.host.run(["sh", "-euc", f"cp -p {server} {server}.new; mv {server}.new {server}"])
        self.assertTrue(waiting.is_running())
        self.ctl("--instance", name, "unlock")
        self._let_go_on()
        self._has_got_the_content(waiting)
        self._wait_for(name, "open", 0)

    def _client(self, command):
        """A client in a directory of its own."""
        return self.host.start(["sh", "-euc", f"cd $(mktemp -d); {command}"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def _let_go_on(self):
        """Lets the server that waits, or is about to, go on."""
        self.host.run(["timeout", "60", "sh", "-c", f"echo >{HOLD}"])

    def _has_got_the_content(self, client):
        status, out, errors = client.output()
        self.assertEqual((status, out), (0, "content\n"), errors)

    def _wait_for(self, name, field, value):
        def shown():
            answer = json.loads(self.ctl("--instance", name, "--json", "status", "--wake"))
            return answer.get("status", answer).get(field) == value

        wait.until(shown, f"{field} of {name} to be {value}")
