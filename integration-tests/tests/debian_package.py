"""The Debian packages on hosts that have nothing of the project: installed, upgraded, removed, purged."""

import re
import subprocess
import unittest

from lab import case, journal, packages, prerequisites
from lab.case import HostTest, heavy
from lab.keeping import KeepingTest, another_program, leave_another_layout
from lab.packages import EXAMPLE, PROXY, UpgradeOfPackage
from lab.subjects import Ours

SERVICE = "disnix-tcp-proxy.service"
SOCKETS = ("disnix-tcp-proxy.socket", "disnix-tcp-proxy-control.socket")
METRICS = "disnix-tcp-proxy-metrics.service"
PORT, PORT_OF_WEB = 5001, 5080
LOAD = {"streams": 40, "sizes": "1-1000000", "talkers": 20, "packets": 1000, "idle": 50, "idle_packets": 200}
# What no removal takes away: records about what was done, and what systemd itself makes for each service until a boot.
RECORDS = ("/var/log/", "/var/cache/", "/run/systemd/")


class PackageTest(HostTest):
    """A host without the project, and its packages."""

    needs_debs = True

    def setUp(self):
        # The lowest layer is the plain Debian.
        self.host = self.boot(layers=case.surroundings.layers[-1:])
        self.files = case.surroundings.debs

    def install(self, *names):
        packages.install(self.host, *[self.files[name] for name in names or (PROXY, EXAMPLE)])

    def another_version(self):
        """A package with another program and another unit."""
        _, program = another_program(self.host)

        def change(tree):
            (tree / "usr/bin/disnix-tcp-proxy").write_bytes(program.read_bytes())
            for unit in (tree / "usr/lib/systemd/system").glob("disnix-tcp-proxy*.service"):
                unit.write_text(unit.read_text().replace("[Service]\n", "[Service]\nEnvironment=ANOTHER=version\n"))

        version = packages.field(self.files[PROXY], "Version") + "+another"
        return packages.another_version(self.files[PROXY], version, self.host.machine.directory, change)

    def start_web(self):
        """A proxy with a name, as doc/your-service.md makes it."""
        self.host.drop_in("disnix-tcp-proxy@web.socket", f"[Socket]\nListenStream={PORT_OF_WEB}\n", name="listen")
        self.host.systemctl("enable", "--now", "disnix-tcp-proxy@web.socket", "disnix-tcp-proxy-control@web.socket")
        self.ctl("--instance", "web", "set-target", "127.0.0.1:5000")

    def start_default(self):
        self.host.systemctl("enable", "--now", "hello-world-server.socket", *SOCKETS)
        self.ctl("--instance", "default", "set-target", "127.0.0.1:5000")


class CLibrary(unittest.TestCase):
    """Which C library the packages need: Debian 12 has 2.36, Ubuntu 24.04 2.39, Debian 13 2.41."""

    versions = (case.NO_SYSTEMD,)
    needs_debs = True

    def test_that_of_debian_12_is_enough_and_the_package_names_what_it_needs(self):
        for file in case.surroundings.debs.values():
            depends = packages.field(file, "Depends")
            asked = number(re.search(r"\blibc6 \(>= ([0-9.]+)", depends)[1])
            shipped = [path.rsplit("/", 1)[1] for path in packages.contents(file) if "/bin/" in path]
            self.assertNotEqual(shipped, [])
            for program in shipped:
                needed = max(map(number, self.symbol_versions(program)))
                self.assertLessEqual(needed, asked, f"{program}: {depends}")
            self.assertLessEqual(asked, (2, 36), depends)
            self.assertRegex(depends, r"\blibgcc-s1\b")

    def symbol_versions(self, program):
        """The versions of the C library whose symbols a program uses."""
        path = prerequisites.target_directory() / "release" / program
        shown = subprocess.run(["objdump", "-p", path], check=True, capture_output=True, text=True).stdout
        return re.findall(r"GLIBC_([0-9.]+)", shown)


class Policy(unittest.TestCase):
    """What Debian demands of any package."""

    versions = (case.NO_SYSTEMD,)
    needs_debs = True

    def test_lintian_finds_no_error(self):
        files = case.surroundings.debs
        self.assertEqual(set(files), {PROXY, EXAMPLE})
        done = subprocess.run(["lintian", "--fail-on", "error", *files.values()], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def number(version):
    """A version to compare."""
    return tuple(map(int, version.split(".")))


class Package(PackageTest):
    def test_it_has_every_unit_and_manual_page_and_opens_nothing(self):
        self.install()
        for program in prerequisites.PROGRAMS:
            version = packages.field(self.files[PROXY], "Version").rsplit("-", 1)[0].replace("~", "-")
            self.assertEqual(self.host.run([program, "--version"]), f"{program} {version}\n")
        units = sorted(path.name for path in (prerequisites.PROJECT / "systemd-units").glob("*.s*[te]"))
        shipped = [path for file in self.files.values() for path in packages.contents(file)]
        self.assertEqual(sorted(path.rsplit("/", 1)[1] for path in shipped if "/systemd/system/" in path), units)
        pages = sorted(f"{path.name}.gz" for path in (prerequisites.PROJECT / "doc/man").iterdir())
        self.assertEqual(sorted(path.rsplit("/", 1)[1] for path in shipped if "/man/" in path), pages)
        completions = [path for path in shipped if "completion" in path]
        self.assertEqual(len(completions), 3 * len(prerequisites.PROGRAMS), completions)
        self.host.run(["getent", "group", "disnix-tcp-proxy", "disnix-tcp-proxy-handover"])
        self.assertIn(journal.LOCKED, self.host.run(["journalctl", "--list-catalog"]))
        for unit in (*SOCKETS, "disnix-tcp-proxy-metrics.socket", "hello-world-server.socket"):
            self.assertEqual(self.host.state(unit), "inactive")
            self.assertEqual(self.host.result(["systemctl", "is-enabled", unit]).stdout.strip(), "disabled")

    def test_a_client_reaches_the_service_after_three_commands(self):
        self.install()
        self.start_default()
        self.assertEqual(self.host.client(PORT).ask("hello"), "Hello world!")

    def test_an_upgrade_restarts_the_proxies_that_run_and_no_others(self):
        self.install()
        self.start_default()
        self.start_web()
        self.host.drop_in("disnix-tcp-proxy@asleep.socket", "[Socket]\nListenStream=5090\n", name="listen")
        self.host.systemctl("start", "disnix-tcp-proxy@asleep.socket")
        self.host.systemctl("start", METRICS)
        running = (SERVICE, "disnix-tcp-proxy@web.service", METRICS)
        clients = [self.host.client(port) for port in (PORT, PORT_OF_WEB)]
        for client in clients:
            self.addCleanup(client.socket.close)
            self.assertEqual(client.ask("hello"), "Hello world!")
        opened = self.sockets_opened()
        before = [self.host.main_pid(unit) for unit in running]
        packages.install(self.host, self.another_version())
        for unit, pid in zip(running, before):
            self.assertNotIn(self.host.main_pid(unit), (0, pid), unit)
            self.assertIn("ANOTHER=version", self.host.show(unit, "Environment"))
        for client in clients:
            self.assertEqual(client.ask("hello"), "Hello world!")
        self.assertEqual(self.host.state("disnix-tcp-proxy@asleep.service"), "inactive")
        self.assertEqual(self.sockets_opened(), opened)

    def sockets_opened(self):
        """When each socket was opened, which is once."""
        units = (*SOCKETS, "disnix-tcp-proxy@web.socket", "disnix-tcp-proxy@asleep.socket")
        return {unit: self.host.show(unit, "ActiveEnterTimestampMonotonic") for unit in units}

    def test_an_upgrade_keeps_a_lock_and_what_the_administrator_has_changed(self):
        self.install()
        self.start_default()
        self.host.write("/etc/disnix-tcp-proxy/default.env", "DISNIX_TCP_PROXY_EXIT_IDLE_TIME=infinity\n")
        self.ctl("lock", "--reason", "kept")
        packages.install(self.host, self.another_version())
        self.assertEqual(self.status()["lock"]["reason"], "kept")
        self.assertEqual(self.host.read("/etc/disnix-tcp-proxy/default.env"),
                         "DISNIX_TCP_PROXY_EXIT_IDLE_TIME=infinity\n")

    def test_a_removal_stops_everything_and_keeps_what_was_set(self):
        self.install()
        self.start_default()
        self.start_web()
        self.host.write("/etc/disnix-tcp-proxy/web.env", "DISNIX_TCP_PROXY_REQUESTS=http\n")
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        packages.apt(self.host, "remove", PROXY, EXAMPLE)
        for port in (PORT, PORT_OF_WEB, 5000):
            self.assertFalse(self.host.listens_on(port), port)
        self.assertEqual(self.units("active", "activating", "deactivating", "failed"), [])
        self.assertEqual(self.host.result(["disnix-tcp-proxy", "--version"]).returncode, 127)
        self.assertIn("http", self.host.read("/etc/disnix-tcp-proxy/web.env"))
        # What was enabled and set is so again.
        self.install()
        self.host.systemctl("start", *SOCKETS, "hello-world-server.socket")
        self.assertEqual(self.host.run(["systemctl", "is-enabled", "disnix-tcp-proxy.socket"]).strip(), "enabled")
        self.assertEqual(self.host.client(PORT).ask("hello"), "Hello world!")

    def test_a_purge_leaves_the_two_groups_and_nothing_else(self):
        self.install()
        self.start_default()
        self.start_web()
        with self.host.client(PORT_OF_WEB) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
        self.ctl("--instance", "web", "lock")
        self.host.systemctl("enable", "--now", "disnix-tcp-proxy-metrics.socket")
        for unit in (SERVICE, METRICS):
            self.host.drop_in(unit, "[Service]\nEnvironment=MINE=yes\n")
        self.assertNotEqual(self.left_over(), [])
        packages.apt(self.host, "purge", PROXY, EXAMPLE)
        self.assertEqual(self.left_over(), [])
        self.assertEqual(self.units(), [])
        self.assertNotIn(journal.LOCKED, self.host.run(["journalctl", "--list-catalog"]))
        groups = re.findall("(?m)^(disnix[^:]*):", self.host.read("/etc/group"))
        self.assertEqual(sorted(groups), ["disnix-tcp-proxy", "disnix-tcp-proxy-handover"])

    def units(self, *states):
        """Units of ours that systemd has in memory, in these states or in any."""
        wanted = [f"--state={','.join(states)}"] if states else ["--all"]
        listed = self.host.run(["systemctl", "list-units", *wanted, "--plain", "--no-legend",
                                "disnix-tcp-proxy*", "hello-world*"])
        return listed.splitlines()

    def left_over(self):
        """Paths with the name of something of ours."""
        find = ["find", "/etc", "/usr", "/var", "/run", "(", "-name", "*disnix*", "-o", "-name", "hello-world*", ")"]
        found = self.host.result([*find, "-print"]).stdout.splitlines()
        return [path for path in found if not path.startswith(RECORDS)]

    def test_going_back_to_another_layout_resets_connections_says_so_and_serves(self):
        self.install()
        newer = self.another_version()
        packages.install(self.host, newer)
        self.start_default()
        self.start_web()
        self.ctl("--instance", "web", "lock")
        with self.host.client(PORT) as kept, self.host.client(PORT_OF_WEB) as waiting:
            self.assertEqual(kept.ask("hello"), "Hello world!")
            for unit in (SERVICE, "disnix-tcp-proxy@web.service"):
                leave_another_layout(self.host, self.host.main_pid(unit))
            self.install(PROXY)
            said = self.host.journal.wait(message_id=journal.NOT_KEPT, unit=SERVICE)
            self.assertIn("a version has left connections that this one does not understand", said["MESSAGE"])
            self.assertTrue(kept.is_reset())
            self.ctl("--instance", "web", "unlock")
            self.assertEqual(waiting.ask("hello"), "Hello world!")
        # The new table keeps what comes now.
        with self.host.client(PORT) as client:
            self.assertEqual(client.ask("hello"), "Hello world!")
            packages.install(self.host, newer)
            self.assertEqual(client.ask("hello"), "Hello world!")


class Upgrades(PackageTest, KeepingTest):
    @heavy
    def test_upgrades_under_load_lose_nothing(self):
        self.install(PROXY)
        versions = [self.another_version(), self.files[PROXY]]
        run = self.disturb(Ours(threads="2"), UpgradeOfPackage, seconds=20, load=LOAD, packages=versions)
        self.assert_disturbed(run, 1)
        self.assert_nothing_lost(run)
        self.assert_proxy_is_well()
        print(f"{run.outcome.opened} connections, {run.disturbance.turns} upgrades of the package: 0 lost; "
              f"longest pause {run.outcome.longest_pause:.0f} ms")
