"""Connections that must outlive the proxy: a verified load, and the disturbances of the proxy."""

import collections
import contextlib
import os
import re
import struct
import subprocess
from dataclasses import dataclass

from lab import case, prerequisites
from lab.case import HostTest
from lab.disturbances import (Disturbance, KillDuringRestore, KillEverything, KillMain, Restart,
                              Upgrade)
from lab.errors import Unmet
from lab.subjects import Ours
from lab.verified import Outcome, VerifiedLoad

PROXY = Ours.unit
# The limit of the store, for any number of connections.
STORE_AT_MOST = 64
# One client that is being accepted may be lost in this number of kills of all processes.
KILLS_FOR_ONE = 50


@dataclass
class Run:
    """A load, and the disturbance during it."""

    subject: object
    disturbance: Disturbance
    outcome: Outcome

    def row(self, what):
        """A line of the table with the head HEAD."""
        done, outcome = self.disturbance, self.outcome
        turns = max(1, done.kills or done.turns)
        return (f"| {what} | {case.surroundings.version} | {outcome.report['seconds']:.0f} s "
                f"| {done.kills or done.turns} "
                f"| {outcome.opened} | {outcome.bytes / 2**30:.1f} GiB | {outcome.packets_per_second:.0f} "
                f"| {outcome.lost}{f' ({outcome.kinds})' if outcome.lost else ''} | {outcome.lost / turns:.1f} "
                f"| {outcome.corrupt} | {outcome.waiting} | {outcome.longest_pause:.0f} ms |")


HEAD = ("| what | systemd | time | times | connections | bytes | packets/s | lost | lost each time | corrupt "
        "| left waiting | longest pause |\n|---|---|---|---|---|---|---|---|---|---|---|---|")


class KeepingTest(HostTest):
    """Disturbs a proxy under load."""

    def disturb(self, subject, disturbance=Disturbance, seconds=10, every=None, load=None, **arguments):
        """Sends load through the proxy for `seconds`, with disturbances."""
        service = subject.start(self.host)
        running = VerifiedLoad(self.host, subject.port, seconds, **(load or {}))
        disturbing = disturbance(self.host, service, every=every, **arguments)
        disturbing.last_while(running)
        return Run(subject, disturbing, running.outcome())

    def uid_of_proxy(self):
        """The user of the proxy, which has to run."""
        return int(self.host.process_status(self.host.main_pid(PROXY))["Uid"].split()[0])

    def assert_nothing_lost(self, run, new=0):
        """Asserts that no established connection was lost, at most `new` new ones, and that it was disturbed."""
        outcome = run.outcome
        about = "\n".join([
            f"{run.disturbance.kills} kills, {run.disturbance.starts} starts: of {outcome.opened} connections lost "
            f"{outcome.lost} ({outcome.kinds}), corrupt {outcome.corrupt}, left waiting {outcome.waiting}",
            outcome.first_losses, "what the proxy has said about it:", *self.complaints(run.subject.unit)])
        self.assertEqual(outcome.corrupt, 0, about)
        self.assertEqual(outcome.lost_established, 0, about)
        self.assertLessEqual(outcome.lost_new, new, about)
        self.assertEqual(outcome.waiting, 0, about)
        self.assertGreater(outcome.finished, 0, about)

    def during_the_longest_pause(self, run, beside=0.1):
        """The messages during the longest pause, and `beside` seconds around it."""
        outcome = run.outcome
        end = outcome.longest_pause_at + outcome.longest_pause / 1000
        return self.host.journal.between(outcome.longest_pause_at - beside, end + beside)

    def complaints(self, unit):
        """The warnings of a service, without their numbers, each with its count."""
        said = self.host.run(["journalctl", "--boot", "--output=cat", "--priority=warning", f"--unit={unit}"])
        sentences = collections.Counter(re.sub(r"[0-9]+", "N", line) for line in said.splitlines())
        return [f"{count} times: {sentence}" for sentence, count in sentences.most_common(10)]

    def assert_disturbed(self, run, turns):
        """Asserts the least number of turns, each with a new process."""
        done = run.disturbance
        self.assertGreaterEqual(done.turns, turns, f"{done.name}: too seldom")
        self.assertGreaterEqual(done.starts, turns, f"{done.name}: too few new processes")

    def assert_proxy_is_well(self):
        """Asserts that the proxy has no connection, and that the store is small."""
        self.wait_for_open(0)
        self.assertEqual(self.status()["gate"], "open")
        self.assertLessEqual(self.stored(), STORE_AT_MOST)

    def stored(self, unit=PROXY):
        """The number of descriptors that systemd keeps for it."""
        return int(self.host.show(unit, "NFileDescriptorStore"))


def another_build(directory):
    """A program with the same behaviour, compiled differently."""
    command = ["cargo", "build", "--quiet", "--bin=disnix-tcp-proxy", f"--target-dir={directory}",
               "--config=profile.dev.strip=true"]
    if subprocess.run(command, cwd=prerequisites.PROJECT).returncode != 0:
        raise Unmet("`cargo build` of another program failed")
    return directory / "debug" / "disnix-tcp-proxy"


def another_program(host, path="/usr/bin/disnix-tcp-proxy"):
    """Both programs of an upgrade: the installed one, and the same with one more section, so that its content
    differs but not its behaviour."""
    old, new = host.machine.directory / "old-program", host.machine.directory / "new-program"
    old.write_bytes(host.machine.path(path).read_bytes())
    note = host.machine.directory / "note"
    note.write_text("another version")
    subprocess.run(["objcopy", f"--add-section=.note.version={note}", old, new], check=True)
    return old, new


def leave_another_layout(host, pid):
    """Gives the table of the proxy that runs the number of another layout. Only the next process reads it, and takes
    the table for that of a version that it does not understand."""
    descriptors = host.machine.path(f"/proc/{pid}/fd")
    for number in os.listdir(descriptors):
        # Others may be closed at any time.
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(descriptors / number).startswith("/memfd:kept-connections"):
                # The head in src/proxy/keep/table/layout.rs: eight bytes that say what it is, then the number.
                with open(descriptors / number, "r+b", buffering=0) as table:
                    if table.read(8) == b"kept-tcp":
                        table.write(struct.pack("=I", 99))
                        return
    raise AssertionError(f"process {pid} has no table")


__all__ = ["HEAD", "KILLS_FOR_ONE", "KeepingTest", "KillDuringRestore", "KillEverything", "KillMain", "PROXY",
           "Restart", "Run", "Upgrade", "another_build", "another_program", "leave_another_layout"]
