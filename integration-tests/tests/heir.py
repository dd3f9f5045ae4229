"""A killed proxy has an heir: its last will becomes the next process, in the same sandbox, and systemd adopts
it as the main process."""

import time
from pathlib import Path

from lab import journal, wait
from lab.keeping import PROXY, another_program
from lab.service import Service
from lab.subjects import Ours
from tests.keeping import ByHand

# A process that has served for less has no heir.
SERVED_AT_LEAST = 0.25
# In the place of the program: logs who has executed it, in its own directory.
REPLACEMENT = """#!/bin/sh
echo started by "${DISNIX_TCP_PROXY_HEIR_OF:-systemd}" >> "$STATE_DIRECTORY/written.log"
exec /usr/bin/disnix-tcp-proxy-real "$@"
"""
CGROUP = "/sys/fs/cgroup/system.slice/disnix-tcp-proxy.service/cgroup.procs"


class Heir(ByHand):
    def kill(self, *, heir=True):
        """Kills the main process, and waits until another one has served long enough to have an heir."""
        ready, entries = self.said(journal.READY), self.said(journal.RESPAWNED)
        super().kill()
        wait.until(lambda: len(self.said(journal.READY)) > len(ready), "another process to be ready")
        new = self.said(journal.RESPAWNED)[len(entries):]
        self.assertEqual(len(new), int(heir))
        time.sleep(SERVED_AT_LEAST)
        return new

    def said(self, message_id):
        # Not only after a cursor: systemd 252 omits the first entry that matches.
        return self.host.journal.entries(message_id=message_id, unit=PROXY)

    def restarts(self):
        return int(self.host.show(PROXY, "NRestarts"))

    def connect(self, **options):
        ends = super().connect(**options)
        time.sleep(SERVED_AT_LEAST)
        return ends

    def test_systemd_goes_on_with_it_and_notices_no_failure(self):
        client, served = self.connect()
        for _ in range(3):
            killed = self.host.main_pid(PROXY)
            [entry] = self.kill()
            self.assertEqual(int(entry["KILLED_PID"]), killed)
            self.assertEqual(int(entry["_PID"]), self.host.main_pid(PROXY))
            self.assertEqual(self.host.state(PROXY), "active")
            self.assertEqual(self.host.show(PROXY, "Result"), "success")
            self.assert_connected(client, served)
        self.assertEqual(self.restarts(), 0)
        self.another()
        self.assertEqual(self.status()["open"], 2)

    def test_it_is_in_the_same_sandbox(self):
        client, served = self.connect()
        of_systemd = self._confinement()
        self.kill()
        self.assertEqual(self._confinement(), of_systemd)
        self.assertEqual(of_systemd["Seccomp"], "2")
        self.assertEqual(of_systemd["NoNewPrivs"], "1")

    def _confinement(self):
        pid = self.host.main_pid(PROXY)
        status = self.host.process_status(pid)
        names = ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
                 "Seccomp_filters", "SigBlk", "SigIgn", "Umask")
        namespaces = self.host.run(["sh", "-c", f"cd /proc/{pid}/ns && readlink mnt user ipc uts pid net"])
        limits = self.host.run(["cat", f"/proc/{pid}/limits"])
        # Itself and its will, and nothing of the killed process.
        beside = len(self.host.run(["cat", CGROUP]).split())
        return {name: status.get(name) for name in names} | {
            "namespaces": namespaces, "limits": limits, "processes": beside}

    def test_only_root_can_read_it_and_a_crash_writes_no_dump(self):
        client, served = self.connect()
        for _ in range(2):
            # Files of a process that is not dumpable belong to root, proc(5); those of its will too.
            processes = self.host.run(["cat", CGROUP]).split()
            self.assertEqual(len(processes), 2)
            for pid in processes:
                self.assertNotEqual(self.host.process_status(pid)["Uid"].split()[0], "0")
                self.assertEqual(self.host.run(["stat", "-c", "%u", f"/proc/{pid}/mem"]).strip(), "0")
            self.kill()
        self.assert_connected(client, served)

    def test_it_has_the_descriptors_that_one_of_systemd_has(self):
        client, served = self.connect()
        before = self._descriptors()
        for _ in range(2):
            self.kill()
        # There may be none left either.
        self.assertEqual(self._descriptors(), before)

    def _descriptors(self):
        pid = self.host.main_pid(PROXY)
        names = self.host.run(["sh", "-c", f"for fd in /proc/{pid}/fd/*; do readlink $fd; done"])
        return sorted(name.split(":[")[0] for name in names.splitlines())

    def test_it_has_also_whom_there_was_no_room_for(self):
        self.limit_room()
        connections = [self.connect()]
        with self.no_room():
            connections += [self.another() for _ in range(3)]
            for _ in range(2):
                before = len(self._descriptors())
                self.kill()
                for client, served in connections:
                    self.assert_connected(client, served)
                # The next client's socket may not exist yet; otherwise nothing is left.
                self.assertIn(len(self._descriptors()), (before, before - 1))
            self.assertEqual(self.status()["open"], len(connections))

    def test_an_idle_exit_or_a_stop_after_it_is_no_failure(self):
        client, served = self.connect(exit_idle_time="300ms")
        self.kill()
        client.close()
        served.close()
        self.host.journal.wait(message_id=journal.IDLE_EXIT)
        self.host.wait_for_state(PROXY, "inactive")
        self.assertEqual(self.restarts(), 0)
        self.assertEqual(self.stored(), 0)
        client, served = self.another()
        time.sleep(SERVED_AT_LEAST)
        self.kill()
        self.host.systemctl("stop", PROXY)
        self.assertEqual(self.host.state(PROXY), "inactive")
        self.assert_ended(client, served)

    def test_a_restart_after_it_goes_on_with_its_connections(self):
        client, served = self.connect()
        self.kill()
        self.host.systemctl("restart", PROXY)
        self.assert_connected(client, served)
        self.host.systemctl("reload", PROXY)
        self.assert_connected(client, served)

    def test_a_restart_in_the_same_moment_loses_nothing(self):
        client, served = self.connect()
        for _ in range(5):
            pid = self.host.main_pid(PROXY)
            self.host.run(["sh", "-c", f"kill -9 {pid}; systemctl restart {PROXY}"])
            self.assertEqual(self.host.state(PROXY), "active")
            self.assert_connected(client, served)
            time.sleep(SERVED_AT_LEAST)

    def test_who_dies_again_at_once_is_started_by_systemd(self):
        client, served = self.connect()
        service = Service(self.host, PROXY, Ours.program)

        def kill_twice():
            # Without a call to systemd in between, so that it takes no longer on a busy machine.
            service.wait_for_main(other_than=service.kill_main())
            service.kill_main()
            self.assert_connected(client, served)
            time.sleep(SERVED_AT_LEAST)
            return self.restarts() > 0

        wait.until(kill_twice, "a restart by systemd", 30)

    def test_it_is_what_the_program_is_by_then(self):
        client, served = self.connect()
        _, new = another_program(self.host)
        target = self.host.machine.path("/usr/bin/disnix-tcp-proxy")
        beside = target.with_name("new")
        beside.write_bytes(new.read_bytes())
        beside.chmod(0o755)
        beside.rename(target)
        self.kill()
        executed = self.host.run(["stat", "-L", "-c", "%i", f"/proc/{self.host.main_pid(PROXY)}/exe"])
        self.assertEqual(int(executed), target.stat().st_ino)
        self.assert_connected(client, served)

    def test_it_is_no_file_that_the_proxy_could_have_written(self):
        client, served = self.connect()
        program, written = Path("/usr/bin/disnix-tcp-proxy"), Path("/var/lib/disnix-tcp-proxy/default/written")
        self.host.run(["mv", program, f"{program}-real"])
        self.host.write(written, REPLACEMENT, mode=0o755)
        self.host.run(["ln", "-s", written, program])
        # The last will is as restricted as the proxy. systemd is not.
        self.kill(heir=False)
        self.assertEqual(self.host.run(["cat", f"{written}.log"]), "started by systemd\n")
        self.assert_connected(client, served)

    def test_where_the_unit_does_not_say_so_systemd_starts_the_next_one(self):
        self.host.drop_in(PROXY, "[Service]\nEnvironment=DISNIX_TCP_PROXY_RESPAWN=no\n", name="respawn")
        client, served = self.connect()
        self.kill(heir=False)
        self.assertEqual(self.restarts(), 1)
        self.assert_connected(client, served)

    def test_a_unit_that_says_half_of_it_loses_nothing(self):
        # Several times: whether systemd is notified of the death or of the heir first is random.
        for half in ("ExitType=main", "NotifyAccess=main") * 4:
            with self.subTest(half):
                self.host.drop_in(PROXY, f"[Service]\n{half}\nWatchdogSec=1s\nTimeoutAbortSec=1s\n",
                                  name="half")
                self.host.systemctl("stop", PROXY)
                client, served = self.connect()
                ByHand.kill(self)
                self.assert_connected(client, served)

    def test_it_is_watched(self):
        self.host.drop_in(PROXY, "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\n", name="watchdog")
        client, served = self.connect()
        self.kill()
        pid = self.host.main_pid(PROXY)
        # It pings the watchdog.
        self.assertTrue(client.is_silent(2))
        self.assertEqual(self.host.main_pid(PROXY), pid)
        self.host.kill(PROXY, "STOP")
        wait.until(lambda: self.host.main_pid(PROXY) not in (0, pid), "another main process")
        self.assert_connected(client, served)
