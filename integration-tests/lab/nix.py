"""Nix, with a store of its own, and the package set for the tests of expressions.

The store is in the cache directory and mounted at /nix for this process and its children only. So `prepare`
needs a private mount namespace (`namespaces.leave_mount_namespace`).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from lab import prerequisites, roots
from lab.errors import Unmet

STAND_INS = prerequisites.PROJECT / "integration-tests" / "nix"
EVERYTHING = STAND_INS / "everything.nix"

# Independent of the machine's /etc/nix.
SETTINGS = """
sandbox = false
build-users-group =
substitute = false
"""

# Debian's; another one may be in the /nix that is covered here.
PROGRAMS = Path("/usr/bin")

EVALUATION_TIMEOUT = 480
BUILD_TIMEOUT = 600


class Expression(str):
    """An argument that is Nix already."""


class NixFailed(AssertionError):
    """An expression was refused; `message` is the output of Nix."""

    def __init__(self, command, message):
        super().__init__(f"{' '.join(command)}\n{message}")
        self.message = message


def store_directory():
    """The directory of the store between runs."""
    return roots.cache_directory().parent / "nix"


def prepare():
    """Mounts the store; once per run, before any test."""
    store_directory().mkdir(parents=True, exist_ok=True)
    Path("/nix").mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", store_directory(), "/nix"], check=True)


class Nix:
    """The machine's Nix. `arguments` are Python values; a `Path` becomes a path, and an
    `Expression` stays what it is."""

    def __init__(self):
        self.nixpkgs = _given("NIXPKGS") or _on_nix_path("nixpkgs") or STAND_INS / "nixpkgs"
        self.processmgmt = _given("NIX_PROCESSMGMT") or STAND_INS / "nix-processmgmt"
        self.dysnomia = _given("DYSNOMIA") or _installed("dysnomia")

    def describe(self):
        """The versions of Nix, package set and frameworks, for the report."""
        version = self._run(["nix-instantiate", "--version"]).strip()
        return "\n".join([
            version,
            f"nixpkgs: {_whose(self.nixpkgs)}",
            f"nix-processmgmt: {_whose(self.processmgmt)}",
            f"dysnomia: {_whose(self.dysnomia or STAND_INS / 'dysnomia')}",
        ])

    @property
    def has_real_nixpkgs(self):
        """Whether the package set is nixpkgs and not the stand-in."""
        return not self.nixpkgs.is_relative_to(STAND_INS)

    @property
    def has_stand_in_processmgmt(self):
        """Whether nix-processmgmt is the stand-in."""
        return self.processmgmt.is_relative_to(STAND_INS)

    @property
    def frameworks(self):
        """The argument for the models and expressions that use them."""
        return {"nix-processmgmt": self.processmgmt}

    def parse(self, *files):
        """Fails if one of the files is not Nix."""
        self._run(["nix-instantiate", "--parse", *files])

    def evaluate(self, file, attribute="", arguments=None):
        """The complete value of an expression."""
        return json.loads(self._run(
            ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode",
             *self._expression(file, attribute, arguments)]))

    def files_evaluated(self, file, attribute="", arguments=None):
        """The files that the complete value of an expression depends on."""
        done = self._finish(["nix-instantiate", "-vv", "--eval", "--strict", "--read-write-mode",
                             *self._expression(file, attribute, arguments)])
        read = {Path(line.split("'")[1]) for line in done.stderr.splitlines()
                if line.startswith("evaluating file '")}
        return {Path(file), *(self._original(path) for path in read)}

    def _original(self, path):
        """Maps the store copy of a directory, which an expression uses as text, to the directory."""
        if path.is_relative_to("/nix/store") and len(path.parts) > 4:
            if path.parts[3].partition("-")[2] == self.processmgmt.name:
                return self.processmgmt.joinpath(*path.parts[4:])
        return path

    def instantiate(self, file, attribute="", arguments=None):
        """The derivations, not built."""
        return self._run(["nix-instantiate", *self._expression(file, attribute, arguments)]).split()

    def build(self, file, attribute="", arguments=None):
        """Builds an expression and returns the paths in the store."""
        printed = self._run(["nix-build", "--no-out-link", *self._expression(file, attribute, arguments)],
                            timeout=BUILD_TIMEOUT)
        return [Path(line) for line in printed.split()]

    def closure(self, *paths):
        """The run-time dependencies of these paths."""
        return [Path(line) for line in self._run(["nix-store", "--query", "--requisites", *paths]).split()]

    def flake(self, verb, checkout, output="", *arguments, options=()):
        """The experimental command line, for an output of the flake in a copy of the project, with
        the package set as its input."""
        packages = self.nixpkgs if self.has_real_nixpkgs else STAND_INS
        return self._run(
            ["nix", "--extra-experimental-features", "nix-command flakes", *verb.split(),
             f"path:{checkout}{output and '#'}{output}", "--override-input", "nixpkgs", f"path:{packages}",
             "--no-write-lock-file", *options, *(["--", *arguments] if arguments else [])],
            timeout=BUILD_TIMEOUT)

    def _expression(self, file, attribute, arguments):
        command = [str(file)]
        for part in [attribute] if isinstance(attribute, str) else attribute:
            if part:
                command += ["--attr", part]
        for name, value in (arguments or {}).items():
            command += ["--arg", name, nix_value(value)]
        return command

    def _run(self, command, timeout=EVALUATION_TIMEOUT):
        return self._finish(command, timeout).stdout

    def _finish(self, command, timeout=EVALUATION_TIMEOUT):
        command = [str(PROGRAMS / command[0]), *map(str, command[1:])]
        done = self._execute(command, timeout)
        if done.returncode != 0:
            raise NixFailed(command, done.stderr.strip())
        return done

    def _execute(self, command, timeout):
        return subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, timeout=timeout)

    def environment(self):
        """The environment of Nix, without the user's own configuration."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(Path.home()),
            "NIX_CONFIG": SETTINGS,
            "NIX_CONF_DIR": "/var/empty",
            "NIX_USER_CONF_FILES": "",
            "NIX_REMOTE": "",
            # Of flakes; the user's own has other inputs.
            "XDG_CACHE_HOME": str(store_directory().parent / "nix-cache"),
            "NIX_PATH": f"nixpkgs={self.nixpkgs}",
            "DYSNOMIA": str(self.dysnomia or ""),
            **_rust(),
        }


def nix_value(value):
    """A Python value in Nix."""
    if isinstance(value, Expression):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${").replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, dict):
        return "{ " + "".join(f"{nix_value(str(name))} = {nix_value(part)}; "
                              for name, part in value.items()) + "}"
    return "[ " + " ".join(f"({nix_value(part)})" for part in value) + " ]"


def _given(variable):
    value = os.environ.get(variable)
    if value and not Path(value).exists():
        raise Unmet(f"{variable}={value}: there is no such directory")
    return Path(value).resolve() if value else None


def _installed(program):
    """The prefix of an installed program."""
    found = shutil.which(program)
    return Path(found).resolve().parents[1] if found else None


def _on_nix_path(name):
    for entry in os.environ.get("NIX_PATH", "").split(":"):
        prefix, equals, path = entry.partition("=")
        if equals and prefix == name and Path(path).exists():
            return Path(path).resolve()
        if not equals and entry and (Path(entry) / name).exists():
            return (Path(entry) / name).resolve()
    return None


def _whose(path):
    path = Path(path)
    return f"a small stand-in ({path.relative_to(prerequisites.PROJECT)})" if path.is_relative_to(STAND_INS) else str(path)


def _rust():
    """Points the stand-in for buildRustPackage to this machine's build results."""
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo/bin"))
    if cargo is None:
        return {}
    return {
        "DISNIX_PROXY_EXAMPLE_RUST": str(Path(cargo).parent),
        "DISNIX_PROXY_EXAMPLE_CARGO_HOME": os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo"),
        "DISNIX_PROXY_EXAMPLE_RUSTUP_HOME": os.environ.get("RUSTUP_HOME") or str(Path.home() / ".rustup"),
        "DISNIX_PROXY_EXAMPLE_CARGO_TARGET": str(prerequisites.target_directory()),
        # How what is there was compiled (.ci/test).
        **{name: value for name, value in os.environ.items() if name.startswith("CARGO_PROFILE_RELEASE_")},
    }
