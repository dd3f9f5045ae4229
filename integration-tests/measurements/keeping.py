"""Lost connections when the proxy is killed, restarted and upgraded under load, a minute each, three times; and those
of two other proxies."""

import statistics
import tempfile
from pathlib import Path

from lab import case, prerequisites
from lab.case import times
from lab.disturbances import (KillDuringRestore, KillEverything, KillMain, KillWhileUpstreamIsDown, Nothing,
                              Reload, Restart, Systemctl, Upgrade, UpgradeByKill)
from lab.keeping import HEAD, KILLS_FOR_ONE, KeepingTest, another_build
from lab.subjects import HAProxy, Ours, SocketProxyd
from lab.verified import VerifiedLoad

RUNS = 3
SECONDS = 60

# Hundreds of new connections each second, 1 B to 3 MB both ways.
CONNECTIONS = {"streams": 300, "idle": 50, "idle_packets": 500}
# Bytes are always in flight, and connections come and go.
PACKETS = {"streams": 50, "talkers": 64, "packets": 50_000, "sizes": "1-300000"}
BOTH = {"streams": 150, "talkers": 64, "packets": 10_000, "idle": 50, "idle_packets": 500}

# The longest pause that a client may see, in milliseconds.
LONGEST_PAUSE = {100: 40, 1_000: 120, 9_000: 400}
# Longer ones, in milliseconds, are shown with their journal.
REMARKABLE_PAUSE = 500
AT_LEAST_WITH_KEEPING = 0.95


class Lossless(KeepingTest):
    """Every byte of every connection is checked."""

    versions = (*case.VERSIONS, case.NEWEST)

    def _measure(self, disturbance, load, new=None, subject=None, **arguments):
        seconds = times(SECONDS)
        print(HEAD)
        failures = []
        for number in range(1, RUNS + 1):
            run = self.disturb(subject or Ours(threads="2"), disturbance, seconds, load={**load, "seed": number}, **arguments)
            print(run.row(f"{run.disturbance.name}, run {number}"), flush=True)
            if run.outcome.longest_pause > REMARKABLE_PAUSE:
                print(self.during_the_longest_pause(run), flush=True)
            try:
                # A kill every 300 ms, and starts in between.
                self.assert_disturbed(run, seconds / max(run.disturbance.every, 0.3) / 4)
                self.assert_nothing_lost(run, new(run.disturbance) if new else 0)
                self.assert_proxy_is_well()
            except AssertionError as error:
                failures.append(f"run {number}: {error}")
        if failures:
            self.fail("\n\n".join(failures))

    def test_nothing_at_all(self):
        for load in (CONNECTIONS, PACKETS):
            self._measure_nothing(load)

    def _measure_nothing(self, load):
        print(HEAD)
        run = self.disturb(Ours(), Nothing, times(SECONDS), load=load)
        print(run.row(run.disturbance.name), flush=True)
        self.assert_nothing_lost(run)

    def test_kill_under_new_connections(self):
        self._measure(KillMain, CONNECTIONS)

    def test_kill_under_fifty_thousand_packets(self):
        self._measure(KillMain, PACKETS)

    def test_kill_of_everything_in_the_cgroup(self):
        self._measure(KillEverything, CONNECTIONS, new=lambda done: max(1, done.kills // KILLS_FOR_ONE))

    def test_restart_and_daemon_reexec(self):
        self._measure(Restart, BOTH)

    def test_kill_during_restore(self):
        self._measure(KillDuringRestore, BOTH)

    def test_kill_while_the_upstream_is_down(self):
        self._measure(KillWhileUpstreamIsDown, BOTH)

    def test_kill_with_a_proxy_header(self):
        self._measure(KillMain, {**BOTH, "header": "v2"}, subject=Ours(threads="2", proxy_protocol="v2"))

    def test_upgrade_to_another_binary(self):
        self._measure_upgrade(Upgrade)

    def test_upgrade_by_kill(self):
        self._measure_upgrade(UpgradeByKill)

    def _measure_upgrade(self, disturbance):
        installed = Path("/usr/bin/disnix-tcp-proxy")
        with tempfile.TemporaryDirectory() as directory:
            old = Path(directory) / "old"
            old.write_bytes(self.host.machine.path(installed).read_bytes())
            new = another_build(prerequisites.target_directory() / "another")
            self._measure(disturbance, BOTH, builds=(old, new), path=installed)


class LongestPause(KeepingTest):
    versions = (*case.VERSIONS, case.NEWEST)

    """How long a client waits for its echo that the proxy is killed in between, and started anew."""

    def _measure(self, connections):
        # Idle again before the next kill; enough packets that one is in flight at any moment.
        load = {"idle": connections, "idle_packets": 4000}
        pauses = []
        for number in range(1, RUNS + 1):
            run = self.disturb(Ours(), KillMain, times(SECONDS), every=3, load={**load, "seed": number})
            report = run.outcome.report
            pauses.append(report["pauses"]["idle"]["longest_pause_ms"])
            print(f"{connections} connections, systemd {case.surroundings.version}, run {number}: "
                  f"{run.disturbance.kills} kills, {run.outcome.lost} lost, longest pause {pauses[-1]:.0f} ms "
                  f"(p99 {report['pauses']['idle']['p99_ms']:.1f} ms; the load itself {report['own_pause_ms']:.0f} ms; "
                  f"kill to start {run.disturbance.longest_start * 1000:.0f} ms)", flush=True)
            self.assert_nothing_lost(run)
        self.assertLessEqual(max(pauses), LONGEST_PAUSE[connections])

    def test_100(self):
        self._measure(100)

    def test_1000(self):
        self._measure(1_000)

    def test_9000(self):
        self._measure(9_000)


class Cost(KeepingTest):
    """The proxy alternately with and without keeping, on a processor of its own."""

    turns, seconds = 15, 4

    def _rates(self, figure, **load):
        with_and_without = {}
        ports = {"yes": 5011, "no": 5012}
        for keep, port in ports.items():
            self._start(keep, port)
        for turn in range(self.turns + 1):
            for keep, port in ports.items():
                running = VerifiedLoad(self.host, port, max(1, times(self.seconds)), processor=0,
                                       seed=turn, workers=32, packet_sizes="100-100", **load)
                outcome = running.outcome()
                self.assertEqual((outcome.lost, outcome.corrupt), (0, 0), str(outcome))
                # The first one warms up.
                if turn:
                    with_and_without.setdefault(keep, []).append(outcome.report[figure])
        pairs = zip(with_and_without["yes"], with_and_without["no"], strict=True)
        ratio = statistics.median(kept / not_kept for kept, not_kept in pairs)
        medians = {keep: statistics.median(rates) for keep, rates in with_and_without.items()}
        print(f"{figure.replace('_', ' ')}, systemd {case.surroundings.version}: with keeping "
              f"{medians['yes']:.0f}, without {medians['no']:.0f}, ratio {ratio:.3f}")
        self.assertGreaterEqual(ratio, AT_LEAST_WITH_KEEPING)

    def _start(self, keep, port):
        name = f"disnix-tcp-proxy@{keep}"
        self.host.drop_in(f"{name}.socket", f"[Socket]\nListenStream=127.0.0.1:{port}\n")
        self.host.drop_in(
            f"{name}.service",
            "[Service]\nCPUAffinity=1\nEnvironment=DISNIX_TCP_PROXY_TARGET=127.0.0.1:5000 "
            f"DISNIX_TCP_PROXY_THREADS=1 DISNIX_TCP_PROXY_KEEP_CONNECTIONS={keep}\n")
        self.host.systemctl("start", f"{name}.socket")

    def test_new_connections(self):
        self._rates("new_connections_per_second", requests=1)

    def test_requests(self):
        self._rates("requests_per_second", requests=0)


class RestartAlone(Systemctl):
    """systemctl restart."""

    name = "restart"
    every = 0.5
    command = ("restart",)


class Others(KeepingTest):
    """Their losses under the same load, without a requirement."""

    def _measure(self, subject, disturbance, what="", **load):
        run = self.disturb(subject, disturbance, times(SECONDS), load={**BOTH, **load})
        name = f"{subject.name}, {run.disturbance.name}{what}"
        print(f"{HEAD}\n{run.row(name)}\n{run.outcome.first_losses}")
        self.assertEqual(run.outcome.corrupt, 0)
        self.host.result(["systemctl", "reset-failed"])

    def test_haproxy_undisturbed(self):
        self._measure(HAProxy(), Nothing)

    def test_haproxy_reload(self):
        self._measure(HAProxy(), Reload)

    def test_haproxy_restart(self):
        self._measure(HAProxy(), RestartAlone)

    def test_haproxy_kill(self):
        self._measure(HAProxy(), KillMain)

    def test_haproxy_kill_of_everything(self):
        self._measure(HAProxy(), KillEverything)

    def test_socket_proxyd_undisturbed(self):
        self._measure(SocketProxyd(), Nothing)

    # It loses half-closed connections even undisturbed, so this load has none.

    def test_socket_proxyd_undisturbed_without_half_closes(self):
        self._measure(SocketProxyd(), Nothing, ", no half-closes", no_half_closes=True)

    def test_socket_proxyd_restart(self):
        self._measure(SocketProxyd(), RestartAlone, ", no half-closes", no_half_closes=True)

    def test_socket_proxyd_kill(self):
        self._measure(SocketProxyd(), KillMain, ", no half-closes", no_half_closes=True)

    def test_ours_without_keeping_restart(self):
        self._measure(Ours(keep_connections="no", drain_timeout="0"), RestartAlone)

    def test_ours_without_keeping_kill(self):
        self._measure(Ours(keep_connections="no"), KillMain)
