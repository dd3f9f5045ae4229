"""Runs every test on each of its systemds, several at a time, each in a process of its own."""

import concurrent.futures
import io
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
import traceback
import unittest
from dataclasses import dataclass

from lab import case, namespaces

TEST_TIMEOUT = 1800
MEASUREMENT_TIMEOUT = 3600


@dataclass
class Task:
    """One test on one systemd, or on none."""

    version: str
    test: str
    heavy: bool
    timeout: int
    needs_package: bool
    needs_debs: bool


def collect(directory, versions, pattern, timeout=TEST_TIMEOUT):
    """The tests in a directory whose names contain `pattern`, long ones first."""
    found = unittest.defaultTestLoader.discover(
        str(directory), pattern="*.py", top_level_dir=str(directory.parent))
    tasks = []
    for test in _flatten(found):
        if isinstance(test, unittest.loader._FailedTest):
            raise SystemExit(f"{test.id()} can not be loaded:\n{test._exception}")
        method = getattr(test, test._testMethodName)
        for version in getattr(method, "versions", test.versions):
            if version in (*versions, case.NO_SYSTEMD) and (not pattern or pattern.lower() in test.id().lower()):
                tasks.append(Task(version, test.id(), getattr(method, "heavy", False), timeout,
                                  getattr(test, "needs_package", False), getattr(test, "needs_debs", False)))
    return sorted(tasks, key=lambda task: not task.heavy)


def _flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flatten(test)
        else:
            yield test


def run(tasks, layers, live, debs, quick, jobs):
    """Runs all of them and reports each at its end; returns the numbers of passed and failed ones."""
    passed = failed = 0
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=fork, initializer=_prepare) as pool:
        futures = {}
        for number, task in enumerate(tasks):
            surroundings = case.Surroundings(
                task.version, layers.get(task.version), live, f"lab-{task.version}-{os.getpid()}-{number}",
                quick, debs)
            futures[pool.submit(_run_one, task, surroundings)] = task
        try:
            for future in concurrent.futures.as_completed(futures):
                error = _report(futures[future], *future.result())
                passed, failed = passed + (not error), failed + bool(error)
        except KeyboardInterrupt:
            # Running tests are interrupted too; the others must not start.
            pool.shutdown(cancel_futures=True)
            raise
    return passed, failed


def _report(task, error, seconds, printed):
    """Prints the result of a test and returns its failure."""
    print(f"{'FAILED' if error else 'ok    '} {task.version} {_readable(task.test)}"
          f"  ({seconds:.1f} s)", flush=True)
    for text in (printed, error):
        if text:
            print("    " + text.strip().replace("\n", "\n    "), flush=True)
    return error


def _readable(test):
    *_, module, group, name = test.split(".")
    module = module.replace("_", " ")
    group = re.sub("(?<!^)(?=[A-Z])", " ", group).lower()
    return f"{module if group == module else f'{module}, {group}'}: {name.removeprefix('test_').replace('_', ' ')}"


def _prepare():
    # When the run is killed, the tests end, and with them their hosts.
    namespaces.die_with_parent(signal.SIGKILL)
    # A crowd of clients and its upstream are sockets of this process.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# Whether this process must not start another test: the pool has queued one for it.
_is_interrupted = False


def _run_one(task, surroundings):
    """Returns its failure (or an empty text), its time and its output."""
    global _is_interrupted
    if _is_interrupted:
        return "the run was interrupted", 0, ""
    case.surroundings = surroundings
    started = time.monotonic()
    stdout, sys.stdout = sys.stdout, io.StringIO()
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(task.timeout)
    error = ""
    try:
        test = unittest.defaultTestLoader.loadTestsFromName(task.test)._tests[0]
        result = unittest.TestResult()
        test.run(result)
        problems = [text for _, text in result.failures + result.errors]
        problems += [f"skipped: {reason}" for _, reason in result.skipped]
        if problems:
            error = "\n".join([*problems, getattr(test, "post_mortem", "")])
        elif result.testsRun != 1:
            error = "the test has not run"
    except BaseException as problem:
        _is_interrupted = isinstance(problem, KeyboardInterrupt)
        error = traceback.format_exc()
    finally:
        signal.alarm(0)
        printed, sys.stdout = sys.stdout.getvalue(), stdout
    return error, time.monotonic() - started, printed


def _too_slow(*_):
    raise AssertionError("the test has taken too long")
