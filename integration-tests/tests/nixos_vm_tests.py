"""nix/tests: tests in virtual machines. They need nixpkgs and KVM; here their scripts run on a host instead."""

import ast
import builtins
import subprocess
import sys

from lab import wait
from lab.case import HostTest, NixTest
from lab.nix import STAND_INS
from lab.prerequisites import PROJECT

TESTS = PROJECT / "nix" / "tests"
NAMES = ("without-proxy", "with-proxy", "with-socket-activation", "upgrade-under-load")

# The interface of the driver of NixOS tests: its globals, and the methods of a machine.
GLOBALS = {"start_all", "subtest"}
METHODS = {"fail", "require_unit_state", "shutdown", "start", "succeed", "wait_for_unit",
           "wait_until_succeeds"}


class Tests(NixTest):
    def test_all_are_in_the_list(self):
        listed = (TESTS / "default.nix").read_text()
        for name in NAMES:
            self.assertIn(f"{name} = runTest ./{name}.nix;", listed)
            self.assertEqual(self.nix.evaluate(TESTS / f"{name}.nix", "name"),
                             f"disnix-proxy-example-{name}")

    def test_the_scripts_use_nothing_that_is_not_there(self):
        for name in NAMES:
            with self.subTest(name):
                script = ast.parse(self.nix.evaluate(TESTS / f"{name}.nix", "testScript"))
                used = [node for node in ast.walk(script) if isinstance(node, ast.Name)]
                known = {"server", "client", *GLOBALS, *dir(builtins)}
                known |= {node.id for node in used if isinstance(node.ctx, ast.Store)}
                known |= {node.name for node in ast.walk(script) if isinstance(node, ast.FunctionDef)}
                known |= {node.arg for node in ast.walk(script) if isinstance(node, ast.arg)}
                self.assertEqual({node.id for node in used} - known, set())
                methods = {node.attr for node in ast.walk(script) if isinstance(node, ast.Attribute)
                           and isinstance(node.value, ast.Name) and node.value.id in ("server", "client")}
                self.assertLessEqual({"succeed"}, methods)
                self.assertEqual(methods - METHODS, set())

    def test_the_machines_are_sound(self):
        if self.nix.has_real_nixpkgs:
            self.assertEqual(len(self.nix.instantiate(TESTS / "default.nix")), len(NAMES))
            return
        node = STAND_INS / "modules" / "node.nix"
        for name in NAMES:
            for machine in ("server", "client"):
                with self.subTest(test=name, machine=machine):
                    arguments = {"test": TESTS / f"{name}.nix", "node": machine}
                    self.assertEqual(self.nix.evaluate(node, "failed", arguments), [])
                    self.assertTrue(self.nix.evaluate(node, "programs", arguments))

    def test_what_the_upgrade_changes(self):
        if self.nix.has_real_nixpkgs:
            return  # A specialisation is a whole system there.
        for name, changed in (("without-proxy", {"hello.service"}),
                              ("upgrade-under-load", {"hello.service", "disnix-tcp-proxy@web.service"})):
            with self.subTest(name):
                arguments = {"test": TESTS / f"{name}.nix", "node": "server"}
                node = STAND_INS / "modules" / "node.nix"
                before = self.nix.evaluate(node, "services", arguments)
                after = self.nix.evaluate(node, "services", arguments | {"specialisation": "upgraded"})
                self.assertEqual({unit for unit in before if before[unit] != after[unit]}, changed)


class Load(HostTest):
    """The clients of those tests."""

    def load(self, *arguments, **options):
        """Starts it in the network of the host."""
        network = ["nsenter", f"--target={self.host.machine.leader}", "--net", "--"]
        process = subprocess.Popen([*network, sys.executable, TESTS / "load.py", *arguments],
                                   stdout=subprocess.PIPE, text=True, **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process

    def assert_result(self, process, status, pattern):
        printed, _ = process.communicate(timeout=30)
        self.assertRegex(printed.splitlines()[-1], pattern)
        self.assertEqual(process.returncode, status)

    def test_all_are_served(self):
        self.start_server()
        self.assert_result(self.load("crowd", "127.0.0.1", "5000", "100"), 0, "^100 served, 0 failed$")

    def test_failures_are_counted(self):
        self.assert_result(self.load("crowd", "127.0.0.1", "5000", "3"), 1, "^0 served, 3 failed$")
        with self.host.upstream(5000) as upstream:
            wrong = self.load("crowd", "127.0.0.1", "5000", "1")
            with upstream.accept() as connection:
                connection.send("Go away!\r\n")
            self.assert_result(wrong, 1, "^0 served, 1 failed$")

    def test_it_continues_until_it_is_stopped(self):
        with self.host.echo_upstream(5000) as upstream:
            steady = self.load("steady", "127.0.0.1", "5000")
            wait.until(lambda: upstream.accepted >= 10, "ten clients")
            steady.terminate()
            self.assert_result(steady, 1, r"^0 served, \d\d+ failed$")

    def test_who_is_held_stays_and_is_asked_once_more(self):
        with self.host.upstream(5000) as upstream:
            held = self.load("held", "127.0.0.1", "5000")
            with upstream.accept() as connection:
                self.assertEqual(connection.line(), "hello")
                connection.send("Hello you\r\n")
                self.assertEqual(held.stdout.readline(), "connected\n")
                held.terminate()
                self.assertEqual(connection.line(), "hello")
                connection.send("Hello you\r\n")
                self.assert_result(held, 0, "^1 served, 0 failed$")
