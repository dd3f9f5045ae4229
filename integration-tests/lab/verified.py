"""The verified load: clients and the service behind the proxy, in one process inside the host.

examples/verified-load describes it and its counts."""

import json
import shutil
import subprocess
import time

from lab import prerequisites
from lab.errors import NotInTime

PROGRAM = "verified-load"
UPSTREAM_PORT = 5000
# Time after its end, in seconds, for open connections and for a busy machine.
PATIENCE = 60


class VerifiedLoad:
    """Starts when all clients that stay are connected, and ends after `seconds`.

    Options are those of the program: `streams=300, talkers=64, no_half_closes=True`."""

    def __init__(self, host, port, seconds, upstream=f"127.0.0.1:{UPSTREAM_PORT}", processor=None,
                 **options):
        self.seconds = seconds
        options = {"connect": f"127.0.0.1:{port}", "upstream": upstream, "seconds": seconds, **options}
        command = [_installed(host)]
        if processor is not None:
            command = ["taskset", "--cpu-list", processor, *command]
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            command += [option] if value is True else [option, value]
        self._process = host.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._wait_until_ready()
        self.began, self.began_at = time.monotonic(), time.time()

    def _wait_until_ready(self):
        for line in self._process.stderr:
            if line == b"ready\n":
                return
            raise NotInTime(f"the verified load: {line.decode().strip()}")
        raise NotInTime("the verified load has ended before it began")

    def left(self):
        """How much of its time is left, in seconds."""
        return self.began + self.seconds - time.monotonic()

    def outcome(self):
        """Waits for its end."""
        status, out, err = self._process.output(timeout=max(0, self.left()) + PATIENCE)
        if status not in (0, 1):
            raise AssertionError(f"the verified load failed with status {status}: {err}")
        return Outcome(json.loads(out), self.began_at)


class Outcome:
    """The counts of the load."""

    def __init__(self, report, began_at):
        self.report = report
        self.opened = sum(report["opened"].values())
        self.finished = sum(report["finished"].values())
        self.lost = report["lost"]["total"]
        self.lost_established = report["lost"]["established"]
        self.lost_new = report["lost"]["new"]
        self.corrupt = report["corrupt"]
        self.waiting = report["waiting"]
        self.bytes = report["bytes"]
        self.packets_per_second = report["packets_per_second"]
        self.longest_pause, begin = max(
            ((group["longest_pause_ms"], group["longest_pause_at"]) for group in report["pauses"].values()),
            default=(0, 0))
        self.longest_pause_at = began_at + begin

    @property
    def first_losses(self):
        """Descriptions of the first lost connections."""
        return "\n".join(self.report["first_losses"])

    @property
    def kinds(self):
        """Their kinds: `reset 3, early end 1`."""
        kinds = ("refused", "reset", "early_end", "timed_out", "other")
        counts = {kind: self.report["lost"][kind] for kind in kinds}
        return ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in counts.items() if count)

    def __str__(self):
        return json.dumps(self.report)


def _installed(host):
    path = f"/usr/local/bin/{PROGRAM}"
    target = host.machine.path(path)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(program(), target)
        target.chmod(0o755)
    return path


def program():
    """Where it was built."""
    return prerequisites.target_directory() / "release" / "examples" / PROGRAM
