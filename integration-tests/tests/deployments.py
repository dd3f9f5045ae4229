"""Failures and special cases of deployments."""

import contextlib
from dataclasses import replace

from lab import wait
from lab.case import heavy, only_on
from lab.deployment import (
    BROKEN_SERVER, GREETING, HEALTH, HEALTH_PORT, PROCESSES, SYSTEMD, DeploymentTest, Desired, another_version,
)
from lab.disnix.deployer import Models
from lab.gate import Watch

OTHER, THIRD = "Hello again!", "Hello once more!"
OTHER_PORT, OTHER_HEALTH_PORT = 3100, 3998

# There is no other machine.
HERE = {"infrastructure": "only-test1.nix", "distribution": "everything-on-test1.nix"}

# Without systemd, the proxy exits at the end of the lock that the route has requested.
SHORT_LEASE = Desired(proxy={"lease": '"2s"'}, route={"drainTimeout": '"1s"', "lease": '"1s"'})


def says(greeting):
    """Parameters of a server."""
    return {"greeting": f'"{greeting}"'}


class _Deployments:
    @heavy
    def test_a_server_that_does_not_start_is_rolled_back_and_no_client_fails(self):
        route = {"startTimeout": '"1s"'}
        self.deploy(Desired(route=route))
        upgrade = self.under_load(
            self.models(Desired(route=route, server={"package": BROKEN_SERVER})), [GREETING])
        self.assertFalse(upgrade.succeeded)
        self.assertEqual(upgrade.answers_since, {GREETING})

    @heavy
    def test_the_route_and_the_address_for_load_balancers_come_and_go_and_no_client_fails(self):
        # Each deployment replaces the proxy.
        self.deploy(Desired())
        self._change_the_route(False, HEALTH)
        self._change_the_route(True, HEALTH, while_closed=self._is_unhealthy)
        self._change_the_route(False, {})
        self.assertTrue(self.is_refused(HEALTH_PORT))

    def _change_the_route(self, has_route, proxy, **options):
        self.flavour = replace(self.flavour, has_route=has_route)
        upgrade = self.under_load(self.models(Desired(proxy=proxy)), [GREETING], **options)
        self.assertTrue(upgrade.succeeded, self.deployer.output)
        self.assertEqual(self.greeting(), GREETING)
        if proxy:
            self.assertEqual(self.health(), "200 OK")

    def _is_unhealthy(self):
        self.assertEqual(self.health(), "503 the proxy is locked, and draining")

    @heavy
    def test_of_two_deployers_at_the_same_time_one_succeeds(self):
        self.deploy(Desired(**HERE))
        second = self.deployer.colleague(f"{self.deployer.directory}-2")
        with self.clients([GREETING, OTHER, THIRD]) as (load, held):
            with Watch(self.control()) as gate:
                deployments = {OTHER: self.deployer.start(self.models(Desired(**HERE, server=says(OTHER))))}
                self.close_the_gate(gate, load)
                deployments[THIRD] = second.start(self.models(Desired(**HERE, server=says(THIRD))))
                gate.wait_until(lambda status: (status["lock"] or {}).get("callers") == 2, "both to wait")
            held.leave()
            succeeded = [greeting for greeting, deployment in deployments.items() if deployment.wait()]
        self.assertEqual([self.greeting()], succeeded)

    @heavy
    def test_when_the_coordinator_dies_while_the_lock_waits_the_drain_is_given_up_in_time(self):
        self.deploy(Desired(**HERE, route={"drainTimeout": '"4s"'}))
        with self.clients([GREETING, OTHER]) as (load, held):
            with Watch(self.control()) as gate:
                deployment = self.deployer.start(self.models(Desired(**HERE, server=says(OTHER))))
                self.close_the_gate(gate, load)
                deployment.kill()
                gate.wait_for("open")
            self.assertTrue(held.is_alive())
            held.leave()
            # The lock was not granted, so nothing of it is left.
            self.deploy(Desired(**HERE, server=says(OTHER)))
        self.assertEqual(self.greeting(), OTHER)

    @heavy
    def test_when_the_coordinator_dies_after_the_lock_the_lease_opens_the_gate(self):
        self.deploy(Desired(route={"drainTimeout": '"5s"', "lease": '"2s"'}))
        with self.clients([GREETING, OTHER]) as (load, held):
            with Watch(self.control()) as gate:
                deployment = self.deployer.start(self.models(Desired(server=says(OTHER))))
                self.close_the_gate(gate, load)
                deployment.pause()
                held.leave()
                gate.wait_for("locked")
                deployment.kill()
                gate.wait_for("open")
            # What an administrator does then, see disnix-lock(1).
            self.deployer.unlock()
            self.deploy(Desired(server=says(OTHER)))
        self.assertEqual(self.greeting(), OTHER)

    @heavy
    def test_when_a_machine_leaves_the_network_the_server_moves_away_from_it(self):
        self.deploy(Desired(distribution="server-on-test2.nix"))
        upgrade = self.under_load(
            self.models(Desired(**HERE, server=says(OTHER))),
            [GREETING, OTHER])
        self.assertTrue(upgrade.succeeded, self.deployer.output)
        self.assertEqual(upgrade.answers_since, {OTHER})

    def test_when_a_machine_is_dead_the_server_moves_away_from_it(self):
        self.deploy(Desired(distribution="server-on-test2.nix", proxy={"keepalive": '"2s"'}))
        with self.client() as client:
            self.assertEqual(client.ask(), GREETING)
            self.unplug("test2")
            # With the same parameters, so that the proxy stays.
            self.deploy(Desired(**HERE, proxy={"keepalive": '"2s"'}, server=says(OTHER)))
            self.assertEqual(self.greeting(), OTHER)

    def test_after_an_undeployment_the_proxy_is_gone_with_its_socket_when_the_lease_is_over(self):
        self.deploy(replace(SHORT_LEASE, proxy={**SHORT_LEASE.proxy, **HEALTH}))
        pid = self.proxy_status()["pid"]
        infrastructure = self.models(Desired()).infrastructure
        self.deployer.deploy(Models(infrastructure))
        wait.until(self.is_refused, "the proxy to be gone")
        self.wait_until_nothing_is_left(pid)
        self.assertTrue(self.is_refused(HEALTH_PORT))

    def test_unlock_succeeds_where_there_is_no_lock_and_no_proxy(self):
        self.deploy(SHORT_LEASE)
        wrappers = self.components("test1", "wrapper")
        self.assertEqual(len(wrappers), 2)
        self._unlock(wrappers)
        self.stop_the_proxy()
        self._unlock(wrappers)
        self.deployer.deploy(Models(self.models(Desired()).infrastructure))
        wait.until(self.is_refused, "the proxy to be gone")
        self._unlock(wrappers)

    def _unlock(self, wrappers):
        for wrapper in wrappers:
            self.hosts["test1"].run([f"{wrapper}/bin/wrapper", "unlock", "wrapper"])

    def test_an_upgrade_brings_a_proxy_back_that_is_down(self):
        self.deploy(Desired())
        self.stop_the_proxy()
        self.deploy(Desired(proxy={"package": another_version(1)}))
        self.assertEqual(self.greeting(), GREETING)


@only_on("257")
class Systemd(_Deployments, DeploymentTest):
    flavour = SYSTEMD

    @heavy
    def test_when_the_port_changes_clients_of_the_old_one_are_served_until_the_lease_is_over(self):
        self.deploy(Desired(proxy={"lease": '"15s"', **HEALTH}))
        upgrade = self.under_load(self.models(Desired(proxy={"port": OTHER_PORT, **HEALTH})), [GREETING])
        self.assertTrue(upgrade.succeeded, self.deployer.output)
        self.assertEqual(self.greeting(OTHER_PORT), GREETING)
        self.assertEqual(self.proxy_status()["target"], f"127.0.0.1:{OTHER_PORT}")
        # Only the new one answers load balancers.
        self.assertEqual(self.health(), "200 OK")
        wait.until(self.is_refused, "the proxy on the old port to be gone", 20)
        self.assertEqual(self.greeting(OTHER_PORT), GREETING)
        self.assertEqual(self.health(), "200 OK")

    def test_another_address_for_load_balancers_replaces_the_last_one_unless_something_else_listens_there(self):
        self.deploy(Desired(proxy=HEALTH))
        self.deploy(Desired(proxy={"health": f'"{self.address("test1")}:{OTHER_HEALTH_PORT}"'}))
        self.assertTrue(self.is_refused(HEALTH_PORT))
        self.assertEqual(self.health(OTHER_HEALTH_PORT), "200 OK")
        with self.hosts["test1"].upstream(HEALTH_PORT):
            deployment = self.deployer.start(self.models(Desired(proxy=HEALTH)))
            self.assertFalse(deployment.wait())
        self.assertEqual(self.health(OTHER_HEALTH_PORT), "200 OK")
        self.assertEqual(self.greeting(), GREETING)

    def stop_the_proxy(self):
        """Its sockets as well, so that nothing starts it."""
        self.hosts["test1"].systemctl("stop", "nix-process-disnix-tcp-proxy-*")
        self.assertTrue(self.is_refused())

    def wait_until_nothing_is_left(self, pid):
        """No unit, no link to one, no process."""
        for host in self.hosts.values():
            wait.until(lambda: not host.systemctl("list-units", "--all", "--no-legend", "nix-process-*"),
                       "no unit to be left")
            self.assertEqual(host.run(["find", "/etc/systemd-mutable/system", "-not", "-type", "d"]), "")


@only_on("252")
class Processes(_Deployments, DeploymentTest):
    flavour = PROCESSES

    def test_when_the_port_changes_the_old_one_is_free_when_the_lease_is_over(self):
        self.deploy(SHORT_LEASE)
        self.deploy(Desired(proxy={"port": OTHER_PORT}))
        self.assertEqual(self.greeting(OTHER_PORT), GREETING)
        wait.until(self.is_refused, "the proxy on the old port to be gone")

    def test_the_processes_have_a_user_without_a_name_and_without_privileges(self):
        self.deploy(Desired())
        programs = [(host, pid, program) for host in self.hosts.values() for pid, program in _running(host)
                    if program in ("disnix-tcp-proxy", "hello-world-server")]
        self.assertEqual({program for _, _, program in programs}, {"disnix-tcp-proxy", "hello-world-server"})
        for host, pid, _ in programs:
            status = host.process_status(pid)
            self.assertGreater(int(status["Uid"].split()[0]), 2_100_000_000)
            self.assertEqual((status["NoNewPrivs"], int(status["CapBnd"], 16), status["Groups"]), ("1", 0, ""))

    def stop_the_proxy(self):
        """As the module does."""
        self.hosts["test1"].run(["bash", "-c", f"kill {self.proxy_status()['pid']}"])
        wait.until(self.is_refused, "the proxy to end")

    def wait_until_nothing_is_left(self, pid):
        """No process, no PID file."""
        for host in self.hosts.values():
            wait.until(lambda: not host.run(["find", "/run", "-name", "*.pid"]), "no PID file to be left")
        self.assertFalse(self.hosts["test1"].machine.path(f"/proc/{pid}").exists())


def _running(host):
    """The numbers and programs of all processes."""
    for entry in host.machine.path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            yield entry.parent.name, entry.readlink().name
