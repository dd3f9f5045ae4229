"""The same with a newer Nix than that of the machine."""

import json

from lab.case import NixTest
from lab.newer_nix import NewerNix
from lab.nix import EVERYTHING
from lab import tree


class Today(NixTest):
    def setUp(self):
        super().setUp()
        self.newer = NewerNix()

    def test_it_parses_every_file(self):
        self.newer.parse(*(path for path in tree.files() if path.suffix == ".nix"))

    def test_it_evaluates_everything_to_the_same_derivations(self):
        print(self.newer.describe())
        ours, theirs = (nix.evaluate(EVERYTHING, arguments=nix.frameworks) for nix in (self.nix, self.newer))
        self.assertEqual(theirs, ours)
