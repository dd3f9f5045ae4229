"""Every .nix file can be parsed and evaluated, and is used."""

from lab import tree
from lab.case import NixTest
from lab.nix import EVERYTHING, STAND_INS


class Files(NixTest):
    def setUp(self):
        super().setUp()
        self.files = [path for path in tree.files() if path.suffix == ".nix"]
        self.assertGreater(len(self.files), 40)

    def test_every_file_can_be_parsed(self):
        self.nix.parse(*self.files)

    def test_no_file_is_dead(self):
        print(self.nix.describe())
        used = self.nix.files_evaluated(EVERYTHING, arguments=self.nix.frameworks)
        # tests/nix_flake.py tests the flake of the stand-in.
        unused = set(self.files) - used - {STAND_INS / "flake.nix"}
        if self.nix.has_real_nixpkgs:
            unused -= set((STAND_INS / "nixpkgs").rglob("*.nix"))
        if not self.nix.has_stand_in_processmgmt:
            unused -= set((STAND_INS / "nix-processmgmt").rglob("*.nix"))
        if self.nix.dysnomia:
            unused -= set((STAND_INS / "dysnomia").rglob("*.nix"))
        self.assertEqual({str(path) for path in unused}, set())
