"""The placement of services, from integration-tests/nix/disnix/manifest.nix."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Mapping:
    """A service on a machine. `service` identifies it with its package and all its dependencies: a change of any of
    them makes it another service."""

    service: str
    target: str
    container: str


@dataclass(frozen=True)
class Service:
    """A service, independent of its machines."""

    name: str
    type: str
    package: str
    depends_on: tuple = ()


@dataclass(frozen=True)
class Manifest:
    """All machines, their profiles, and the services with their machines."""

    targets: dict
    profiles: dict
    services: dict
    mappings: tuple

    @classmethod
    def read(cls, path):
        """Reads the file that Nix has built."""
        written = json.loads(Path(path).read_text())
        services = {
            identity: Service(entry["name"], entry["type"], entry["pkg"],
                              tuple(Mapping(**place) for place in entry["dependsOn"]))
            for identity, entry in written["services"].items()
        }
        return cls(written["targets"], written["profiles"], services,
                   tuple(sorted(Mapping(**place) for place in written["mappings"])))

    def properties(self, mapping):
        """The properties of the container, as arguments for the machine."""
        container = self.targets[mapping.target]["containers"].get(mapping.container, {})
        return [f"{name}={value}" for name, value in container.items()]
