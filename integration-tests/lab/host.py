"""A host as its administrator sees it."""

import os
import signal
import subprocess

from lab import clients, upstreams, wait
from lab.journal import Journal
from lab.machine import Machine


# How long a command may take, in seconds: it only ends one that hangs, also where other processes need the processors.
COMMAND_TIMEOUT = 240


class Failed(AssertionError):
    """A command inside the host has failed."""


class Process:
    """A command that runs inside the host."""

    def __init__(self, popen):
        self._popen = popen
        self.stdout, self.stderr = popen.stdout, popen.stderr

    def kill(self, number=signal.SIGKILL):
        """Sends a signal to the command itself, not to nsenter, and reaps it."""
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            pass
        return self.wait()

    def is_running(self):
        """Whether it still runs."""
        return self._popen.poll() is None

    def wait(self, timeout=clients.TIMEOUT):
        """Its exit status."""
        return self._popen.wait(timeout)

    def output(self, timeout=clients.TIMEOUT):
        """Waits for its end; returns exit status, standard output and standard error."""
        out, err = self._popen.communicate(timeout=timeout)
        return self._popen.returncode, (out or b"").decode(), (err or b"").decode()


class Host:
    """One booted machine."""

    def __init__(self, machine: Machine, version):
        self.machine = machine
        self.version = version
        self.network = machine.network
        self.journal = Journal(self)
        self._processes = []

    # Commands

    def run(self, command, check=True, input=None, timeout=COMMAND_TIMEOUT):
        """Runs a command inside and returns its output."""
        done = self.result(command, input, timeout)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: exit status {done.returncode}\n"
                         f"{done.stdout}{done.stderr}")
        return done.stdout

    def result(self, command, input=None, timeout=COMMAND_TIMEOUT):
        """Runs a command inside and returns its exit status and output."""
        return subprocess.run(self.machine.enter(list(map(str, command))), input=input,
                              capture_output=True, text=True, timeout=timeout)

    def start(self, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        """Starts a command inside, to be waited for or killed; it ends with the host."""
        # A session of its own, so that a signal reaches the command and not only nsenter.
        popen = subprocess.Popen(self.machine.enter(list(map(str, command))),
                                 stdin=subprocess.DEVNULL,
                                 stdout=stdout, stderr=stderr, start_new_session=True)
        process = Process(popen)
        self._processes.append(process)
        return process

    def systemctl(self, *arguments, timeout=COMMAND_TIMEOUT):
        """systemctl, which must succeed."""
        return self.run(["systemctl", *arguments], timeout=timeout)

    # Units

    def show(self, unit, name):
        """One property of a unit."""
        return self.run(["systemctl", "show", "--value", f"--property={name}", unit]).strip()

    def state(self, unit):
        """active, inactive, failed, …"""
        return self.show(unit, "ActiveState")

    def main_pid(self, unit):
        """The main process of a service, by its number inside the host; 0 if there is none."""
        return int(self.show(unit, "MainPID"))

    def wait_for_state(self, unit, state, timeout=30):
        """Waits until the unit is active, inactive, …"""
        wait.until(lambda: self.state(unit) == state, f"{unit} to be {state}", timeout)

    def kill(self, unit, number="KILL"):
        """Sends a signal to the main process."""
        self.run(["systemctl", "kill", "--kill-who=main", f"--signal={number}", unit])

    def failed_units(self):
        """The names of all units that have failed, without those with which systemd boots: on a busy machine
        systemd-journal-flush and the like may fail, which no test is about."""
        listed = self.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"])
        names = [line.split()[0] for line in listed.splitlines()]
        return [name for name in names if not name.startswith("systemd-")]

    def drop_in(self, unit, text, name="test"):
        """Writes a drop-in, as `systemctl edit` does."""
        self.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.systemctl("daemon-reload")

    def configure(self, program, **options):
        """Configures a program as an administrator does, by the environment of its service:
        `configure("disnix-tcp-proxy", exit_idle_time="0")`."""
        prefix = program.upper().replace("-", "_")
        lines = [f'Environment="{prefix}_{name.upper()}={value}"' for name, value in options.items()]
        self.drop_in(f"{program}.service", "\n".join(["[Service]", *lines, ""]), name="options")

    def process_status(self, pid):
        """/proc/PID/status as a dictionary."""
        lines = self.run(["cat", f"/proc/{pid}/status"]).splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def cpu_seconds(self, pid):
        """The processor time of a process."""
        fields = self.run(["cat", f"/proc/{pid}/stat"]).rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # Files

    def write(self, path, text, mode=0o644):
        """Writes a file inside."""
        target = self.machine.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def read(self, path):
        """Reads a file inside."""
        return self.machine.path(path).read_text()

    # The network

    def client(self, port, address="127.0.0.1", timeout=clients.TIMEOUT):
        """A client that is connected from inside."""
        return clients.connect(self.network, (address, port), timeout)

    def listens_on(self, port):
        """Whether there is a listener on this TCP port."""
        listening = f":{port:04X}", "0A"
        tables = [self.machine.path(f"/proc/1/net/{table}").read_text() for table in ("tcp", "tcp6")]
        return any((line.split()[1][-5:], line.split()[3]) == listening
                   for table in tables for line in table.splitlines()[1:])

    def unix_client(self, path, timeout=clients.TIMEOUT):
        """A client of an AF_UNIX socket."""
        return clients.connect(self.network, self.machine.path(path), timeout)

    def crowd(self, port, size):
        """Many clients that arrive one after the other."""
        return clients.Crowd(self.network, ("127.0.0.1", port), size)

    def upstream(self, port):
        """A listener that the test serves by hand."""
        return upstreams.Upstream(self.network, port)

    def echo_upstream(self, port):
        """A server that answers every line with the same line."""
        return upstreams.EchoUpstream(self.network, port)

    def destroy(self):
        """Kills the host."""
        for process in self._processes:
            process.kill()
        self.machine.destroy()
