"""A service as seen in its control group: its processes, and their ends.

Reading it takes microseconds; a call to systemd would take milliseconds of processor time from the service and its
clients."""

import contextlib
import os
import signal
import time

from lab.errors import NotInTime

INTERVAL = 0.001


class Service:
    """One service of a host; process numbers are those of this machine."""

    def __init__(self, host, unit, program):
        self.unit = unit
        self._leader = host.machine.leader
        self._program = program
        group = host.show(unit, "ControlGroup")
        self._group = host.machine.path(f"/sys/fs/cgroup{group}")

    def processes(self):
        """All processes in it."""
        try:
            return [int(line) for line in (self._group / "cgroup.procs").read_text().split()]
        except OSError:
            # Between two starts there is no group.
            return []

    def main(self):
        """The child of systemd with the program; None if there is none."""
        return next((pid for pid in self.processes() if self._is_main(pid)), None)

    def _is_main(self, pid):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                name, _, rest = stat.read().partition("(")[2].rpartition(")")
            program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
        except OSError:
            return False
        # The last will is the proxy's sibling, and runs the same program.
        return (int(rest.split()[1]) == self._leader and name != "last-will"
                and program.endswith(self._program))

    def wait_for_main(self, other_than=None, timeout=30):
        """Waits until there is another main process."""
        deadline = time.monotonic() + timeout
        while True:
            pid = self.main()
            if pid is not None and pid != other_than:
                return pid
            if time.monotonic() > deadline:
                raise NotInTime(f"{self.unit} has no new main process after {timeout} s")
            time.sleep(INTERVAL)

    def kill_main(self):
        """Kills the main process alone and returns its number, or None if there was none."""
        pid = self.main()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    def kill_everything(self):
        """Kills all processes at once."""
        pid = self.main()
        with contextlib.suppress(OSError):
            (self._group / "cgroup.kill").write_text("1")
        return pid
