"""The flake, with the package set as its input."""

import json
import os
import subprocess

from lab import case, tree
from lab.case import NixTest
from lab.prerequisites import PROGRAMS, PROJECT


class Flake(NixTest):
    def setUp(self):
        super().setUp()
        # As in a checkout: Nix copies a whole directory into the store.
        self.checkout = tree.copy(case.surroundings.live / case.surroundings.name / "project")
        self.system = f"{os.uname().machine}-linux"

    def test_it_shows_what_it_has(self):
        shown = json.loads(self.nix.flake("flake show --json", self.checkout))
        for system in (self.system, "aarch64-linux"):
            self.assertEqual(shown["packages"][system]["default"]["type"], "derivation")
            self.assertEqual(set(shown["apps"][system]), {*PROGRAMS, "default", "demo"})
            self.assertIn("default", shown["devShells"][system])
            self.assertLessEqual({"package", "upgrade-under-load"}, set(shown["checks"][system]))
        self.assertEqual(shown["overlays"]["default"]["type"], "nixpkgs-overlay")
        self.assertEqual(shown["nixosModules"]["default"]["type"], "nixos-module")

    def test_it_passes_its_own_check(self):
        self.nix.flake("flake check --no-build", self.checkout)

    def test_its_package_is_the_package(self):
        built = json.loads(self.nix.flake("build --json --no-link", self.checkout, options=["--impure"]))
        [package] = self.nix.build(PROJECT / "default.nix")
        self.assertEqual(built[0]["outputs"]["out"], str(package))

    def test_its_programs_run(self):
        for program in (*PROGRAMS, "demo"):
            printed = self.nix.flake("run", self.checkout, program, "--help", options=["--impure"])
            self.assertIn("Usage: ", printed)
