"""Waiting without an event: a condition, tried at short intervals, with a deadline."""

import time

from lab.errors import NotInTime

INTERVAL = 0.02


def until(condition, what, timeout=30):
    """Returns the first true value of `condition()`, or fails and names `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise NotInTime(f"waited {timeout} s in vain for: {what}")
        time.sleep(INTERVAL)
