"""The order of operations in the model of Disnix, with machines that only record calls."""

import threading
import unittest

from lab.case import NO_SYSTEMD
from lab.disnix.coordinator import deploy
from lab.disnix.manifest import Manifest, Mapping, Service

MACHINES = ("test1", "test2")


class Notes:
    """Machines that record calls, and refuse those in `refuse`."""

    def __init__(self, refuse=()):
        self.calls = []
        self._refuse = refuse
        self._turn = threading.Lock()

    def run(self, target, *words):
        """The words without those that are the same in all calls."""
        if words[0] in ("activate", "deactivate"):
            said = f"{words[0]} {words[3]}"
        else:
            said = " ".join([words[0], target, *words[2:]])
        with self._turn:
            self.calls.append(said)
        return said not in self._refuse

    def steps(self):
        """The recorded calls, one list for each step of concurrent calls."""
        steps = []
        for said in self.calls:
            word = said.split()[0]
            if not steps or steps[-1][0].split()[0] != word or word.endswith("activate"):
                steps.append([])
            steps[-1].append(said)
        return [sorted(step) for step in steps]


def manifest(packages, places=None, targets=MACHINES):
    """A client that depends on a proxy that depends on a server; `packages` are their versions."""
    places = places or {}
    services, mappings = {}, {}
    for name, dependency in (("server", None), ("proxy", "server"), ("client", "proxy")):
        if name not in packages:
            continue
        on = (mappings[dependency],) if dependency else ()
        identity = f"{packages[name]} on {'+'.join(f'{place.service}@{place.target}' for place in on)}"
        services[identity] = Service(name, "wrapper", packages[name], on)
        mappings[name] = Mapping(identity, places.get(name, "test1"), "wrapper")
    return Manifest({name: {"hostname": name, "containers": {"wrapper": {"color": "red"}}} for name in targets},
                    {name: f"profile-of-{name}" for name in targets}, services,
                    tuple(sorted(mappings.values())))


V1 = manifest({"server": "server1", "proxy": "proxy1", "client": "client1"})
LOCK = ["lock test1", "lock test2"]
SET = ["set test1 profile-of-test1", "set test2 profile-of-test2"]
UNLOCK = ["unlock test1", "unlock test2"]


class Order(unittest.TestCase):
    versions = (NO_SYSTEMD,)

    def _told(self, new, old, *refuse, reached=True):
        notes = Notes(refuse)
        self.assertEqual(deploy(new, old, notes), reached)
        return notes.steps()

    def test_at_first_dependencies_are_activated_before_dependents(self):
        self.assertEqual(self._told(V1, None), [
            LOCK, ["activate server1"], ["activate proxy1"], ["activate client1"], SET, UNLOCK])

    def test_when_nothing_has_changed_everything_is_locked_all_the_same(self):
        self.assertEqual(self._told(V1, V1), [LOCK, SET, UNLOCK])

    def test_what_depends_on_a_new_package_is_deployed_anew_dependents_are_deactivated_first(self):
        new = manifest({"server": "server1", "proxy": "proxy2", "client": "client1"})
        self.assertEqual(self._told(new, V1), [
            LOCK, ["deactivate client1"], ["deactivate proxy1"], ["activate proxy2"],
            ["activate client1"], SET, UNLOCK])

    def test_a_service_that_moves_takes_its_dependents_along(self):
        new = manifest({"server": "server1", "proxy": "proxy1"}, {"server": "test2"})
        old = manifest({"server": "server1", "proxy": "proxy1"})
        self.assertEqual(self._told(new, old), [
            LOCK, ["deactivate proxy1"], ["deactivate server1"], ["activate server1"],
            ["activate proxy1"], SET, UNLOCK])

    def test_what_is_not_wanted_any_more_is_deactivated(self):
        self.assertEqual(self._told(manifest({}), V1), [
            LOCK, ["deactivate client1"], ["deactivate proxy1"], ["deactivate server1"], SET, UNLOCK])

    def test_when_a_machine_is_not_locked_nothing_happens_and_the_others_are_unlocked(self):
        new = manifest({"server": "server2"})
        self.assertEqual(self._told(new, V1, "lock test2", reached=False), [LOCK, ["unlock test1"]])

    def test_when_an_activation_fails_the_new_is_undone_and_the_old_is_back_before_the_unlock(self):
        new = manifest({"server": "server2", "proxy": "proxy2", "client": "client2"})
        self.assertEqual(self._told(new, V1, "activate proxy2", reached=False), [
            LOCK, ["deactivate client1"], ["deactivate proxy1"], ["deactivate server1"],
            ["activate server2"], ["activate proxy2"], ["deactivate server2"],
            ["activate server1"], ["activate proxy1"], ["activate client1"], UNLOCK])

    def test_when_a_deactivation_fails_what_was_deactivated_is_back_and_what_failed_counts_as_there(self):
        new = manifest({"server": "server2"})
        self.assertEqual(self._told(new, V1, "deactivate proxy1", reached=False), [
            LOCK, ["deactivate client1"], ["deactivate proxy1"], ["activate client1"], UNLOCK])

    def test_when_the_rollback_fails_it_is_left_at_that(self):
        new = manifest({"server": "server2", "proxy": "proxy2"})
        self.assertEqual(
            self._told(new, manifest({"server": "server1"}), "activate proxy2", "deactivate server2",
                       reached=False),
            [LOCK, ["deactivate server1"], ["activate server2"], ["activate proxy2"],
             ["deactivate server2"], UNLOCK])

    def test_a_machine_that_has_left_the_model_gets_no_call(self):
        old = manifest({"server": "server1"}, {"server": "test2"})
        new = manifest({"server": "server1"}, targets=("test1",))
        self.assertEqual(self._told(new, old), [
            ["lock test1"], ["activate server1"], ["set test1 profile-of-test1"], ["unlock test1"]])

    def test_the_properties_of_the_container_are_passed_on(self):
        words = []

        class Machines:
            def run(self, target, *said):
                words.append(said)
                return True

        deploy(manifest({"server": "server1"}), None, Machines())
        self.assertIn(("activate", "wrapper", "wrapper", "server1", "color=red"), words)
        self.assertIn(("lock", "default"), words)
