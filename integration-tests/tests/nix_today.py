"""The same with a newer Nix than the machine's."""

import json

from lab import case, tree
from lab.case import NixTest
from lab.newer_nix import NewerNix
from lab.nix import EVERYTHING


class Today(NixTest):
    def test_it_parses_every_file(self):
        NewerNix().parse(*(path for path in tree.files() if path.suffix == ".nix"))

    def test_it_evaluates_everything_to_the_same_derivations(self):
        newer = NewerNix()
        print(newer.describe())
        ours, theirs = (nix.evaluate(EVERYTHING, arguments=nix.frameworks) for nix in (self.nix, newer))
        self.assertEqual(theirs, ours)

    def test_it_takes_the_flake(self):
        checkout = tree.copy(case.surroundings.live / case.surroundings.name / "project")
        newer = NewerNix(checkout)
        newer.flake("flake check --no-build --all-systems", checkout)
        apps = json.loads(newer.flake("eval --json", checkout, "apps.x86_64-linux"))
        self.assertIn("demo", apps)
