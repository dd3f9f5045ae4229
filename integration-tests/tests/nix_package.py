"""The package: its contents, and its programs in the store."""

import gzip
import subprocess
import tempfile
import tomllib
from pathlib import Path

from lab import project
from lab.case import NixTest, heavy
from lab.prerequisites import PROGRAMS, PROJECT
from lab.units import verify

MANUAL = PROJECT / "doc" / "man"


class Package(NixTest):
    def setUp(self):
        super().setUp()
        [self.package] = self.nix.build(PROJECT / "default.nix")

    @heavy
    def test_the_programs_run_and_have_the_version_of_the_project(self):
        version = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]
        self.assertEqual({path.name for path in (self.package / "bin").iterdir()}, set(PROGRAMS))
        for program in PROGRAMS:
            done = subprocess.run([self.package / "bin" / program, "--version"], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (0, f"{program} {version}\n"))
        self.assertTrue(self.package.name.endswith(f"-disnix-proxy-example-{version}"))

    def test_units_are_the_shipped_ones_with_programs_in_the_store(self):
        shipped = sorted([*project.UNITS.glob("*.service"), *project.UNITS.glob("*.socket")])
        units = self.package / "lib/systemd/system"
        self.assertEqual(sorted(path.name for path in units.iterdir()), [path.name for path in shipped])
        for unit in shipped:
            with self.subTest(unit.name):
                ours, theirs = unit.read_text().splitlines(), (units / unit.name).read_text().splitlines()
                self.assertEqual(len(theirs), len(ours))
                changed = [(old, new) for old, new in zip(ours, theirs) if old != new]
                for old, new in changed:
                    self.assertRegex(old, "^Exec(Start|Reload|Paths)=")
                    if old.startswith("ExecPaths="):
                        # /usr for programs that are linked to the machine's libraries, as here.
                        self.assertEqual((old, new), ("ExecPaths=/usr", "ExecPaths=/nix/store -/usr"))
                        continue
                    program = new.partition("=")[2].split()[0]
                    self.assertTrue(program.startswith("/nix/store/"), new)
                    self.assertTrue(Path(program).exists(), new)
                self.assertEqual(len(changed), sum(line.startswith("Exec") for line in ours))
                self.assertNotRegex((units / unit.name).read_text(), "/usr/bin|/bin/sh ")

    def test_systemd_analyze_verify_has_nothing_to_say(self):
        units = self.package / "lib/systemd/system"
        with tempfile.TemporaryDirectory() as directory:
            # A template has no address of its own.
            drop_in = Path(directory) / "disnix-tcp-proxy@main.socket.d" / "listen.conf"
            drop_in.parent.mkdir()
            drop_in.write_text("[Socket]\nListenStream=5101\n")
            verify(self, [directory, units], [path.name.replace("@.", "@main.") for path in units.iterdir()])

    def test_every_manual_page_is_there(self):
        pages = {path.name for path in MANUAL.iterdir()}
        # Also that of the protocol.
        self.assertEqual(len(pages), len(PROGRAMS) + 1)
        for name in pages:
            section = self.package / f"share/man/man{name[-1]}"
            compressed = section / f"{name}.gz"
            text = gzip.decompress(compressed.read_bytes()) if compressed.exists() else (section / name).read_bytes()
            self.assertEqual(text, (MANUAL / name).read_bytes())

    def test_every_shell_completes_every_program(self):
        for program in PROGRAMS:
            for path in (f"bash-completion/completions/{program}.bash", f"zsh/site-functions/_{program}",
                         f"fish/vendor_completions.d/{program}.fish"):
                with self.subTest(path):
                    self.assertIn("--help" if "fish" not in path else "-l help", (self.package / "share" / path).read_text())

    def test_what_belongs_to_the_journal_and_the_group_and_the_documents_is_there(self):
        for inside, outside in {
            "lib/systemd/catalog/disnix-tcp-proxy.catalog": "systemd-units/disnix-tcp-proxy.catalog",
            "lib/sysusers.d/disnix-tcp-proxy.conf": "systemd-units/disnix-tcp-proxy.sysusers",
            "share/doc/disnix-proxy-example/LICENSE": "LICENSE",
            "share/doc/disnix-proxy-example/README.md": "README.md",
        }.items():
            self.assertEqual((self.package / inside).read_text(), (PROJECT / outside).read_text())

    def test_a_change_of_what_is_not_compiled_or_installed_builds_nothing_anew(self):
        source = Path(self.nix.evaluate(PROJECT / "default.nix", "src"))
        self.assertEqual(
            {path.name for path in source.iterdir()},
            {"Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "benches", "doc", "examples", "src", "systemd-units",
             "tests"})

    def test_the_shell_has_what_working_on_the_project_needs(self):
        [shell] = self.nix.build(PROJECT / "shell.nix")
        self.assertEqual(self.nix.build(PROJECT / "default.nix", "shell"), [shell])
        for program in ("cargo", "rustc", "rustfmt", "cargo-clippy"):
            self.assertTrue(any((Path(package) / "bin" / program).exists() for package in shell.read_text().split()))
