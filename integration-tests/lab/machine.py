"""Boots a root file system as a machine, and removes all traces of it in the end."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from lab import cgroup, namespaces, wait
from lab.errors import NotInTime

# landlock(7), which the proxy uses: a machine allows it, a container only by this.
LANDLOCK = "landlock_add_rule landlock_create_ruleset landlock_restrict_self"
BOOT_TIMEOUT = 180


class Machine:
    """A booted systemd. It writes to `directory`/upper, over the layers below.

    `read_only` directories of this machine are mounted inside at the same path; `environment` is that of
    its systemd."""

    def __init__(self, name, layers, directory, hostname=None, read_only=(), environment=None):
        self.name = name
        self._options = [
            f"--hostname={hostname or name}",
            *[f"--bind-ro={path}" for path in read_only],
            *[f"--setenv={variable}={value}" for variable, value in (environment or {}).items()],
        ]
        self.directory = Path(directory)
        self.upper = self.directory / "upper"
        self._mount([str(layer) for layer in layers])
        self._group = cgroup.Group(name)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(self.directory / "notify"))
        self._nspawn = self._spawn()
        self.leader = None
        try:
            self._wait_until_booted()
        except BaseException:
            self.destroy()
            raise
        finally:
            # Its systemd sends READY=1 after every reload too, and would block when the unread socket is
            # full.
            self._notices.close()
        self.network = namespaces.Network.of_process(self.leader)

    def _mount(self, layers):
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True)
        options = f"lowerdir={':'.join(layers)},upperdir={self.upper},workdir={self.directory}/work"
        subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, self.directory / "root"], check=True
        )

    def _spawn(self):
        environment = dict(
            os.environ,
            NOTIFY_SOCKET=str(self.directory / "notify"),
            # The same hierarchy in every host, independent of this machine's mounts.
            SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1",
        )
        command = [
            *cgroup.wrapper(self.name), "systemd-nspawn", "--quiet", f"--machine={self.name}",
            "--register=no", "--keep-unit", "--notify-ready=yes", "--private-network",
            f"--system-call-filter={LANDLOCK}",
            "--console=read-only", f"--directory={self.directory}/root", *self._options, "--boot",
        ]

        def prepare():
            # On SIGTERM nspawn shuts its systemd down: no host outlives a killed test.
            namespaces.die_with_parent(signal.SIGTERM)
            self._group.enter()

        with open(self.directory / "console", "wb") as console:
            return subprocess.Popen(
                command, env=environment, preexec_fn=prepare, stdin=subprocess.DEVNULL,
                stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
            )

    def _wait_until_booted(self):
        self._notices.settimeout(BOOT_TIMEOUT)
        while True:
            try:
                notice = self._notices.recv(4096).decode()
            except TimeoutError:
                console = (self.directory / "console").read_text(errors="replace")
                raise NotInTime(f"{self.name} has not booted; its console:\n{console}") from None
            for line in notice.splitlines():
                name, _, value = line.partition("=")
                if name == "X_NSPAWN_LEADER_PID":
                    self.leader = int(value)
                elif name == "READY":
                    return

    def enter(self, command):
        """The command line that runs `command` inside."""
        return ["nsenter", f"--target={self.leader}", "--all", "--", *command]

    def path(self, path):
        """The outside path of `path` inside the machine."""
        return Path(f"/proc/{self.leader}/root{path}")

    def destroy(self):
        """Ends it like a power cut, and removes its files."""
        if self.leader is not None:
            os.kill(self.leader, signal.SIGKILL)
        try:
            self._nspawn.wait(3 if self.leader is not None else 0)
        except subprocess.TimeoutExpired:
            # Its container has ended; it waits for something irrelevant.
            self._nspawn.kill()
            self._nspawn.wait()
        wait.until(self._gone, f"the end of {self.name}")
        subprocess.run(["umount", "--lazy", self.directory / "root"], check=True)

    def _gone(self):
        for pid in self._group.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return self._group.remove()
