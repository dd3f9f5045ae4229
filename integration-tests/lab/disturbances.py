"""Repeated disturbances of a proxy that carries connections."""

import contextlib
import random
import threading
import time

from lab import upstreams
from lab.verified import UPSTREAM_PORT

# The limit for a job of systemd, in seconds.
PATIENCE = 60


class Disturbance:
    """Ends a proxy's process; the next one must continue.

    There is a turn every `every` seconds, but not before the process that follows the last turn has
    started."""

    name = ""
    every = 0.3

    def __init__(self, host, service, every=None):
        self.host = host
        self.service = service
        self.every = self.every if every is None else every
        self.turns = 0
        self.kills = 0
        self.starts = 0
        self.longest_start = 0.0

    def last_while(self, load):
        """Repeats turns until the end of the load."""
        due = time.monotonic()
        while True:
            due = max(due + self.every, time.monotonic())
            if due - load.began > load.seconds:
                return
            time.sleep(max(0, due - time.monotonic()))
            self.turns += 1
            self.turn()

    @contextlib.contextmanager
    def meanwhile(self):
        """Repeats turns until the end of the block."""
        over, errors = threading.Event(), []

        def repeat():
            try:
                while not over.wait(self.every):
                    self.turns += 1
                    self.turn()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
        if errors:
            raise errors[0]

    def turn(self):
        """Performs one turn."""
        raise NotImplementedError

    def _after_the_end_of(self, pid):
        """Waits for the next main process and counts it; None if there was no process to end."""
        if pid is None:
            return self.service.wait_for_main()
        began = time.monotonic()
        following = self.service.wait_for_main(other_than=pid)
        self.longest_start = max(self.longest_start, time.monotonic() - began)
        self.starts += 1
        return following

    def _kill(self):
        pid = self.service.kill_main()
        self.kills += pid is not None
        return pid


class Nothing(Disturbance):
    """No disturbance."""

    name = "nothing"
    every = 1

    def turn(self):
        pass


class KillMain(Disturbance):
    """kill -9 of the main process."""

    name = "kill -9"

    def turn(self):
        self._after_the_end_of(self._kill())


class KillEverything(Disturbance):
    """kill -9 of all processes in the control group at once."""

    name = "kill -9 of the cgroup"

    def turn(self):
        pid = self.service.kill_everything()
        self.kills += pid is not None
        self._after_the_end_of(pid)


class KillDuringRestore(Disturbance):
    """kill -9, and again within 30 ms after the start of the next process."""

    name = "kill -9 during restore"
    every = 0.5

    def turn(self):
        self._after_the_end_of(self._kill())
        time.sleep(random.uniform(0, 0.03))
        self._after_the_end_of(self._kill())


class KillWhileUpstreamIsDown(Disturbance):
    """kill -9 of the main process while new clients wait for the upstream."""

    name = "kill -9, upstream down"
    every = 0.8

    def turn(self):
        away = upstreams.Away(self.host.network, UPSTREAM_PORT)
        # A client arrives, and waits.
        time.sleep(0.2)
        self._after_the_end_of(self._kill())
        time.sleep(random.uniform(0, 0.2))
        away.is_back()


class Systemctl(Disturbance):
    """An administrator's command for the service."""

    command = ()

    def turn(self):
        pid = self.service.main()
        self.host.systemctl(*self.command, self.service.unit, timeout=PATIENCE)
        self.starts += self.service.wait_for_main() != pid


class Restart(Systemctl):
    """systemctl restart; every fourth time after a daemon-reexec."""

    name = "restart"
    every = 0.5
    command = ("restart",)

    def turn(self):
        if self.turns % 4 == 0:
            self.host.systemctl("daemon-reexec", timeout=PATIENCE)
        super().turn()


class Reload(Systemctl):
    """systemctl reload."""

    name = "reload"
    every = 1
    command = ("reload",)


class Upgrade(Systemctl):
    """Replaces the program, and restarts the service."""

    name = "upgrade"
    every = 1
    command = ("restart",)

    def __init__(self, host, service, builds, path, every=None):
        super().__init__(host, service, every)
        self._builds = builds
        self._path = path

    def turn(self):
        self._install()
        super().turn()

    def _install(self):
        build = self._builds[self.turns % len(self._builds)]
        target = self.host.machine.path(self._path)
        beside = target.with_name(f"{target.name}.new")
        beside.write_bytes(build.read_bytes())
        beside.chmod(0o755)
        beside.rename(target)


class UpgradeByKill(Upgrade):
    """Replaces the program, and kill -9: the heir executes the new one."""

    name = "upgrade by kill -9"

    def turn(self):
        self._install()
        self._after_the_end_of(self._kill())
