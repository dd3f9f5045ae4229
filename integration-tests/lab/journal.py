"""The journal of a host: reading entries, and waiting for them."""

import json
import os
import selectors
import subprocess
import time

from lab.errors import NotInTime

# The catalog's identifiers; a unit test compares the list with those in src/service/event.rs
# and src/proxy/event.rs.
READY = "7f1d6a3c9b5e4d0f8a2b6c4e1f3d5a70"
IDLE_EXIT = "2c9e4b7a1d8f4f36b05e9a7c3d1f6e82"
STOPPING = "5a3e8d1c7b924e6fa0d4c2b8f1e6937d"
ACCEPTING_PAUSED = "e4b71f0a6c3d4852930f7d5eab18c264"
LOCKED = "91c5f3e7a2d84b60b7e3d9f05c1a486e"
DRAINED = "3d7a09e5c81b4f2e96d4b7f3a05e1c98"
UNLOCKED = "b86f2d41e93c47a5802c5e7fd1a9360b"
LEASE_OVER = "c07d5e9f3a1b46848e2fb6d90c7a351e"
LEASE_EXIT = "1b8d5f0e6a934c27b3f9e27c50d8a461"
TOOK_OVER = "a9e3c7416d0b4f5e92c8f1703b5d6e28"
RETIRED = "70c2a5d98e1f4b36a4d7b09e6c3f8512"
LOCK_TAKEN_BACK = "d2f8410b7e6c4935a1c87d3e5f09b64a"
UPSTREAM_UNREACHABLE = "6e0b9d5a4f2c41738bd7e1c5a39f082d"
REFUSED = "c4e19a7d5b3f4068a2d7f08e6b1c9354"
QUEUE_FULL = "f5a2c8e06d7b4193b4e09f8d2c6a175b"
TARGET_CHANGED = "08e3b6d2f7c54a19ad5f1e8b4c0d7293"
LEADS_BACK = "6f1c0a7e42d94b58a3e9c7105d8b26f4"
PEER_GONE = "47bc1e9d05f84a32863e7f0cd5a92b1f"
KEEPS = "84f3b6d07e1a4c29a5d2708c9e4b61f5"
LAST_WILL = "c6f09a3d7b1e4825b94d02e7f18a6c53"
CONTINUED = "5d80e2c6f13b4a97b6c8d40e97f25a13"
RESPAWNED = "93d4c0b17ae5426f8f1b6e2d7c05a3e9"
NOT_KEPT = "e1a47f9b2c6d4035918be53d07c6f2a8"

NAMES = {value: name for name, value in list(globals().items()) if name.isupper()}


class Journal:
    """Entries are dictionaries, as `journalctl --output=json` writes them."""

    def __init__(self, host):
        self._host = host

    def cursor(self):
        """The current position, for `after` of `entries` and `wait`."""
        self._host.run(["journalctl", "--sync"])
        shown = self._host.run(["journalctl", "--quiet", "--lines=1", "--show-cursor"])
        return shown.rsplit("-- cursor: ", 1)[1].strip()

    def entries(self, after=None, **fields):
        """All entries with these fields (`message_id=…`, `unit=…`, or any other field)."""
        self._host.run(["journalctl", "--sync"])
        output = self._host.run(["journalctl", *_arguments(after, fields)])
        return [json.loads(line) for line in output.splitlines()]

    def wait(self, after=None, timeout=30, count=1, **fields):
        """Waits for the first `count` entries with these fields.

        Returns the only one if `count` is 1, otherwise the list."""
        command = ["journalctl", "--follow", "--no-tail", *_arguments(after, fields)]
        found = []
        process = self._host.start(command, stdout=subprocess.PIPE)
        try:
            for line in _lines_until(process.stdout, time.monotonic() + timeout):
                found.append(json.loads(line))
                if len(found) == count:
                    return found[0] if count == 1 else found
        finally:
            process.kill()
        raise NotInTime(f"the journal had {len(found)} of {count} entries with {_said(fields)} "
                        f"within {timeout} s")

    def explained(self, message_id):
        """The explanation of an event by `journalctl -x`."""
        self._host.run(["journalctl", "--sync"])
        return self._host.run(["journalctl", "--quiet", "-x", f"MESSAGE_ID={message_id}"])

    def since_boot(self, lines=80):
        """The last lines since the boot, for the report on a failed test."""
        text = self._host.run(["journalctl", "--quiet", "--no-hostname", "--output=short-precise"])
        return "\n".join(text.partition("Startup finished in")[2].splitlines()[1:][-lines:])

    def between(self, begin, end):
        """All messages in this period; times are those of time.time()."""
        self._host.run(["journalctl", "--sync"])
        return self._host.run(["journalctl", "--quiet", "--no-hostname", "--output=short-precise",
                               f"--since=@{begin:.6f}", f"--until=@{end:.6f}"])


def _arguments(after, fields):
    matches = []
    for name, value in fields.items():
        if name == "unit":
            matches.append(f"_SYSTEMD_UNIT={value}")
        else:
            matches.append(f"{name.upper()}={value}")
    since = [f"--after-cursor={after}"] if after else []
    return ["--quiet", "--output=json", "--all", *since, *matches]


def _said(fields):
    return ", ".join(f"{name}={NAMES.get(value, value)}" for name, value in fields.items())


def _lines_until(stream, deadline):
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        pending = b""
        while selector.select(max(0, deadline - time.monotonic())):
            data = os.read(stream.fileno(), 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            yield from lines
