"""The transition from one manifest to the next: deactivates what has changed, activates what is new, and rolls back
after a failure."""

import enum


class _State(enum.Enum):
    ACTIVE, INACTIVE, FAILED = range(3)


class _Step(enum.Enum):
    NOTHING_LEFT, DONE_SOMETHING, IMPOSSIBLE = range(3)


class Transition:
    """`perform(operation, mapping, service)` performs one operation on one machine, and returns whether it succeeded.
    Operations run one at a time; those that do not depend on a failed one are still performed."""

    def __init__(self, manifest, previous, perform):
        self._targets = manifest.targets
        self._perform = perform
        old = previous.mappings if previous else ()
        self._old, self._new = old, manifest.mappings
        self._services = {**(previous.services if previous else {}), **manifest.services}
        self._state = {mapping: _State.INACTIVE for mapping in manifest.mappings}
        self._state.update({mapping: _State.ACTIVE for mapping in old})

    def run(self):
        """Whether the new manifest is reached; if not, the old one is restored as far as possible."""
        obsolete = [mapping for mapping in self._old if mapping not in set(self._new)]
        added = [mapping for mapping in self._new if mapping not in set(self._old)]
        if not self._traverse(obsolete, self._deactivate):
            self._roll_back()
            return False
        if not self._traverse(added, self._activate):
            # A service whose activation failed counts as inactive: its module has cleaned up.
            self._take_failed_for(_State.INACTIVE)
            if self._traverse(added, self._deactivate):
                self._roll_back()
            return False
        return True

    def _roll_back(self):
        self._take_failed_for(_State.ACTIVE)
        self._traverse(self._old, self._activate)

    def _take_failed_for(self, state):
        for mapping, current in self._state.items():
            if current is _State.FAILED:
                self._state[mapping] = state

    def _traverse(self, mappings, step):
        """In rounds with at most one operation for each mapping, until nothing is left."""
        success = True
        while True:
            steps = [step(mapping) for mapping in mappings]
            success = success and _Step.IMPOSSIBLE not in steps
            if _Step.DONE_SOMETHING not in steps:
                return success

    def _activate(self, mapping):
        """Dependencies first."""
        for dependency in self._services[mapping.service].depends_on:
            step = self._activate(dependency)
            if step is not _Step.NOTHING_LEFT:
                return step
        if self._state[mapping] is _State.INACTIVE and mapping.target not in self._targets:
            return _Step.IMPOSSIBLE
        return self._do("activate", mapping, _State.INACTIVE, _State.ACTIVE)

    def _deactivate(self, mapping):
        """Dependents first. Machines that are gone are skipped."""
        for dependent in sorted(self._state):
            if mapping in self._services[dependent.service].depends_on:
                step = self._deactivate(dependent)
                if step is not _Step.NOTHING_LEFT:
                    return step
        if self._state[mapping] is _State.ACTIVE and mapping.target not in self._targets:
            self._state[mapping] = _State.INACTIVE
        return self._do("deactivate", mapping, _State.ACTIVE, _State.INACTIVE)

    def _do(self, operation, mapping, before, after):
        if self._state[mapping] is _State.FAILED:
            return _Step.IMPOSSIBLE
        if self._state[mapping] is after:
            return _Step.NOTHING_LEFT
        assert self._state[mapping] is before
        well = self._perform(operation, mapping, self._services[mapping.service])
        self._state[mapping] = after if well else _State.FAILED
        return _Step.DONE_SOMETHING
