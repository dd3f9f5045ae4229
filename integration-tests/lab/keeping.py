"""Connections that have to outlive the proxy: a verified load, and what happens to the proxy meanwhile."""

import collections
import re
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
# What the store may hold, however many connections there are.
STORE_AT_MOST = 64
# Of those who are being accepted while everything is killed, one may be lost in so many kills.
KILLS_FOR_ONE = 50


@dataclass
class Run:
    """One load, and what has been done meanwhile."""

    subject: object
    disturbance: Disturbance
    outcome: Outcome

    def row(self, what):
        """A line of the table that HEAD begins."""
        done, told = self.disturbance, self.outcome
        turns = max(1, done.kills or done.turns)
        return (f"| {what} | {case.surroundings.version} | {told.told['seconds']:.0f} s | {done.kills or done.turns} "
                f"| {told.opened} | {told.bytes / 2**30:.1f} GiB | {told.packets_per_second:.0f} "
                f"| {told.lost}{f' ({told.kinds})' if told.lost else ''} | {told.lost / turns:.1f} "
                f"| {told.corrupt} | {told.waiting} | {told.longest_pause:.0f} ms |")


HEAD = ("| what | systemd | time | times | connections | bytes | packets/s | lost | lost each time | corrupt "
        "| left waiting | longest pause |\n|---|---|---|---|---|---|---|---|---|---|---|---|")


class KeepingTest(HostTest):
    """Disturbs a proxy under load."""

    def disturb(self, subject, disturbance=Disturbance, seconds=10, every=None, load=None, **arguments):
        """Has `seconds` of load through it, disturbed all the time."""
        service = subject.start(self.host)
        running = VerifiedLoad(self.host, subject.port, seconds, **(load or {}))
        disturbing = disturbance(self.host, service, every=every, **arguments)
        disturbing.last_while(running)
        return Run(subject, disturbing, running.outcome())

    def assert_nothing_lost(self, run, new=0):
        """Of established connections none, of new ones at most so many; and the disturbance was one."""
        told = run.outcome
        about = "\n".join([
            f"{run.disturbance.kills} kills, {run.disturbance.starts} starts: of {told.opened} connections lost "
            f"{told.lost} ({told.kinds}), corrupt {told.corrupt}, left waiting {told.waiting}",
            told.first_losses, "what the proxy has said about it:", *self.complaints(run.subject.unit)])
        self.assertEqual(told.corrupt, 0, about)
        self.assertEqual(told.lost_established, 0, about)
        self.assertLessEqual(told.lost_new, new, about)
        self.assertEqual(told.waiting, 0, about)
        self.assertGreater(told.finished, 0, about)

    def during_the_longest_pause(self, run, beside=0.1):
        """What was said during it and `beside` it, in seconds."""
        told = run.outcome
        end = told.longest_pause_at + told.longest_pause / 1000
        return self.host.journal.between(told.longest_pause_at - beside, end + beside)

    def complaints(self, unit):
        """What a service has warned of, each sentence with how often; numbers left out."""
        said = self.host.run(["journalctl", "--boot", "--output=cat", "--priority=warning", f"--unit={unit}"])
        sentences = collections.Counter(re.sub(r"[0-9]+", "N", line) for line in said.splitlines())
        return [f"{count} times: {sentence}" for sentence, count in sentences.most_common(10)]

    def assert_disturbed(self, run, turns):
        """At least so many times, each with a new process."""
        done = run.disturbance
        self.assertGreaterEqual(done.turns, turns, f"{done.name}: too seldom")
        self.assertGreaterEqual(done.starts, turns, f"{done.name}: too few new processes")

    def assert_proxy_is_well(self):
        """It knows of no connection any more, and has stored little."""
        self.wait_for_open(0)
        self.assertEqual(self.status()["gate"], "open")
        self.assertLessEqual(self.stored(), STORE_AT_MOST)

    def stored(self, unit=PROXY):
        """How many descriptors systemd keeps for it."""
        return int(self.host.show(unit, "NFileDescriptorStore"))


def another_build(directory):
    """Another program that does the same: compiled differently, and not just a copy."""
    command = ["cargo", "build", "--quiet", "--bin=disnix-tcp-proxy", f"--target-dir={directory}",
               "--config=profile.dev.strip=true"]
    if subprocess.run(command, cwd=prerequisites.PROJECT).returncode != 0:
        raise Unmet("`cargo build` of another program failed")
    return directory / "debug" / "disnix-tcp-proxy"


def another_program(host, path="/usr/bin/disnix-tcp-proxy"):
    """Both programs of an upgrade: the installed one, and the same with one more section, so that it
    differs in what it is and not in what it does."""
    old, new = host.machine.directory / "old-program", host.machine.directory / "new-program"
    old.write_bytes(host.machine.path(path).read_bytes())
    note = host.machine.directory / "note"
    note.write_text("another version")
    subprocess.run(["objcopy", f"--add-section=.note.version={note}", old, new], check=True)
    return old, new


__all__ = ["HEAD", "KILLS_FOR_ONE", "KeepingTest", "KillDuringRestore", "KillEverything", "KillMain",
           "PROXY", "Restart", "Run", "Upgrade", "another_build", "another_program"]
