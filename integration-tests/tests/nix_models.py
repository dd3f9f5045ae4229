"""The Disnix models: the result of each service, for every process manager."""

import plistlib
import re
import subprocess

from lab import project
from lab.case import NixTest
from lab.nix import STAND_INS, Expression
from lab.prerequisites import PROJECT
from lab.units import verify

MODELS = PROJECT / "nix" / "models.nix"
PLACED = STAND_INS / "placed.nix"
DIRECTORIES = ("deployment", "deployment-simple")

# The files that Dysnomia's modules need in the package of a process.
FILES = {
    "bsdrc": "etc/rc.d/{}",
    "cygrunsrv": "nix-process-{}-cygrunsrvparams",
    "disnix": "etc/dysnomia/process/{}",
    "launchd": "Library/LaunchDaemons/org.nixos.{}.plist",
    "s6-rc": "etc/s6/sv/{}-srv/run",
    "supervisord": "conf.d/{}.conf",
    "systemd": "etc/systemd/system/nix-process-{}.service",
    "sysvinit": "etc/rc.d/init.d/{}",
}
NAMES = {"hello_world_server": "hello-world-server", "disnix_tcp_proxy": "disnix-tcp-proxy-hello-world-3000"}

WITH_PROXY = "deployment.services-with-proxy.distribution-with-proxy"
SIMPLE = "deployment-simple.services-with-proxy.distribution-with-proxy.default"
SOCKET_ACTIVATED = "deployment.services-with-socketactivation"


class ModelTest(NixTest):
    def paths(self, attribute="", **parameters):
        """The store path for each service of DIRECTORY.SERVICES.DISTRIBUTION.MANAGER, without building."""
        found = self.nix.evaluate(MODELS, attribute, {**self.nix.frameworks, "parameters": parameters})
        return _without_marks(found)

    def build(self, attribute, **parameters):
        """The package of one service."""
        [package] = self.nix.build(MODELS, attribute, {**self.nix.frameworks, "parameters": parameters})
        return package

    def placed(self, directory="deployment", **machines):
        """As `paths`, with these machines instead of a distribution model."""
        chosen = {"hello_world_server": ["test1"], "hello_world_client": ["test2"],
                  "disnix_tcp_proxy": ["test1"], "hello_world_route": ["test1"], **machines}
        chosen = {name: there for name, there in chosen.items() if there is not None}
        services = PROJECT / directory / "DistributedDeployment" / "services-with-proxy.nix"
        return _without_marks(self.nix.evaluate(
            PLACED, arguments={**self.nix.frameworks, "services": services, "machines": chosen}))


def _without_marks(value):
    if not isinstance(value, dict):
        return value
    return {name: _without_marks(part) for name, part in value.items() if name != "recurseForDerivations"}


class Variants(ModelTest):
    def managers(self):
        """The process managers, without the one that needs a download with the real nix-processmgmt."""
        if self.nix.has_stand_in_processmgmt or self.nix.has_real_nixpkgs:
            return list(FILES)
        print("not built: sysvinit, which needs the network")
        return [manager for manager in FILES if manager != "sysvinit"]

    def test_every_services_model_fits_a_distribution_and_every_distribution_a_services_model(self):
        found = self.paths()
        for directory in DIRECTORIES:
            with self.subTest(directory):
                here = PROJECT / directory / "DistributedDeployment"
                self.assertEqual(set(found[directory]), {path.stem for path in here.glob("services-*.nix")})
                fitting = [set(distributions) for distributions in found[directory].values()]
                self.assertTrue(all(fitting), fitting)
                self.assertEqual(set.union(*fitting), {path.stem for path in here.glob("distribution-*.nix")})

    def test_every_variant_can_be_built(self):
        print(self.nix.describe())
        managers = self.managers()
        packages = self.nix.build(MODELS, arguments={**self.nix.frameworks, "processManagers": managers})
        self.assertGreater(len(set(packages)), 2 * len(managers))
        scripts = [script for package in set(packages) for script in package.glob("bin/*")
                   if not script.is_symlink()]
        self.assertGreater(len(scripts), len(managers))
        for script in scripts:
            subprocess.run(["bash", "-n", script], check=True)

    def test_each_process_manager_finds_its_files(self):
        for manager in self.managers():
            for service, name in NAMES.items():
                with self.subTest(f"{service}, {manager}"):
                    package = self.build(f"{WITH_PROXY}.{manager}.{service}")
                    text = (package / FILES[manager].format(name)).read_text()
                    self.assertIn("/nix/store/", text)
                    if manager == "launchd":
                        properties = plistlib.loads(text.strip().encode())
                        self.assertEqual(properties["ProgramArguments"][0], properties["Program"])
                    if service == "disnix_tcp_proxy":
                        self.assertTrue((package / "bin/wrapper").exists())

    def test_systemd_has_nothing_to_say_about_the_units(self):
        for attribute in (f"{WITH_PROXY}.systemd", f"{SOCKET_ACTIVATED}.distribution-with-proxy.default",
                          f"{SOCKET_ACTIVATED}.distribution-without-proxy.default"):
            for service in set(self.paths(attribute)) & set(NAMES):
                with self.subTest(f"{attribute}.{service}"):
                    self._verify(self.build(f"{attribute}.{service}"))
        self._verify(self.build(f"{WITH_PROXY}.systemd.disnix_tcp_proxy", proxy={"health": "127.0.0.1:8081"}))

    def _verify(self, package):
        units = package / "etc/systemd/system"
        verify(self, [units], [path.name for path in units.iterdir() if path.suffix != ".d"])


class Upgrades(ModelTest):
    """A service with the same store path is not deployed again."""

    def changed(self, before, after):
        self.assertEqual(set(before), set(after))
        return {service for service in before if before[service] != after[service]}

    def test_a_server_that_changes_leaves_proxy_and_route_and_client_alone(self):
        for attribute in (f"{WITH_PROXY}.systemd", SIMPLE):
            with self.subTest(attribute):
                after = self.paths(attribute, server={"greeting": "Hello again!"})
                self.assertEqual(self.changed(self.paths(attribute), after), {"hello_world_server"})

    def test_a_server_that_moves_changes_the_route_only(self):
        for directory in DIRECTORIES:
            with self.subTest(directory):
                after = self.placed(directory, hello_world_server=["test2"])
                self.assertEqual(self.changed(self.placed(directory), after), {"hello_world_route"})

    def test_a_proxy_that_changes_leaves_the_server_alone(self):
        for attribute in (f"{WITH_PROXY}.systemd", SIMPLE):
            with self.subTest(attribute):
                after = self.paths(attribute, proxy={"connectTimeout": "1min"})
                self.assertEqual(self.changed(self.paths(attribute), after), {"disnix_tcp_proxy"})


class WithoutRoute(ModelTest):
    """A distribution without hello_world_route."""

    def test_three_services_are_enough(self):
        three = {"hello_world_server", "hello_world_client", "disnix_tcp_proxy"}
        for directory in DIRECTORIES:
            for nowhere in (None, []):
                with self.subTest(directory, hello_world_route=nowhere):
                    self.assertEqual(set(self.placed(directory, hello_world_route=nowhere)), three)

    def test_the_proxy_follows_the_server(self):
        for directory in DIRECTORIES:
            with self.subTest(directory):
                before, after = (self.placed(directory, hello_world_route=None, hello_world_server=[machine])
                                 for machine in ("test1", "test2"))
                self.assertEqual({service for service in before if before[service] != after[service]},
                                 {"disnix_tcp_proxy"})


class Units(ModelTest):
    """Units that the models derive from the shipped ones."""

    def test_a_line_that_is_to_be_changed_and_is_gone_is_noticed(self):
        for unit, line, service in (
            ("disnix-tcp-proxy-control@.socket", "SocketGroup=", "disnix_tcp_proxy"),
            ("disnix-tcp-proxy@.socket", "Also=", "disnix_tcp_proxy"),
            ("hello-world-server.service", "Sockets=", "hello_world_server"),
        ):
            with self.subTest(f"{unit}, {line}"):
                package = Expression(
                    f"(import <nixpkgs> {{ }}).runCommand \"package\" {{ }} ''"
                    f"mkdir -p $out/lib/systemd; cp -r --no-preserve=mode {project.UNITS} $out/lib/systemd/system; "
                    f"sed -i '/^{line}/d' $out/lib/systemd/system/{unit}''")
                kind = "proxy" if service == "disnix_tcp_proxy" else "server"
                self.assert_refused("no line matches", self.build, f"{WITH_PROXY}.systemd.{service}",
                                    **{kind: {"package": package}})

    def test_the_next_process_is_started_as_the_shipped_unit_says(self):
        units = self.build(f"{WITH_PROXY}.systemd.disnix_tcp_proxy") / "etc/systemd/system"
        [drop_in] = units.glob("*.service.d/50-*")
        shipped = (project.UNITS / "disnix-tcp-proxy@.service").read_text()
        respawn = "Environment=DISNIX_TCP_PROXY_RESPAWN=yes\n"
        self.assertIn(respawn, shipped)
        self.assertIn(respawn, drop_in.read_text())


class LegacyModules(ModelTest):
    """Dysnomia's legacy modules `process` and `wrapper` read etc/MODULE_config before anything else."""

    def legacy(self, operation, component, module):
        return subprocess.run(["bash", "-c", 'source "$2/etc/${3}_config"', "legacy", operation, component, module],
                              capture_output=True, text=True)

    def test_they_end_with_a_sentence(self):
        for attribute, module in ((f"{SIMPLE}.hello_world_server", "process"),
                                  (f"{SIMPLE}.disnix_tcp_proxy", "wrapper"),
                                  (f"{SIMPLE}.hello_world_route", "wrapper"),
                                  (f"{WITH_PROXY}.disnix.hello_world_server", "process"),
                                  (f"{WITH_PROXY}.systemd.disnix_tcp_proxy", "wrapper")):
            with self.subTest(f"{attribute}, {module}"):
                package = self.build(attribute)
                done = self.legacy("activate", package, module)
                self.assertEqual(done.returncode, 1)
                self.assertIn("dysnomia.enableLegacyModules = false", done.stderr)
                self.assertEqual(self.legacy("deactivate", package, module).returncode, 0)


class Documents(NixTest):
    def test_the_document_lists_every_parameter_with_its_default(self):
        declared = self.nix.evaluate(STAND_INS / "parameters.nix")
        document = (PROJECT / "doc" / "disnix.md").read_text()
        for service, parameters in declared.items():
            table = document.partition(f"`: {service}\n")[2].partition("\n\n#")[0].partition("\nThe models")[0]
            rows = re.findall(r"(?m)^\| `(\w+)` \| (.*?) \| (.*) \|$", table)
            self.assertEqual([name for name, _, _ in rows], list(parameters))
            for name, default, description in rows:
                self.assertEqual(description, parameters[name]["description"])
                if "default" in parameters[name]:
                    self.assertEqual(default, f"`{parameters[name]['default']}`")


class Mistakes(ModelTest):
    """Each fails with an error that names it."""

    def test_a_route_that_is_not_where_the_proxy_is(self):
        for directory in DIRECTORIES:
            with self.subTest(directory):
                self.assert_refused("must put hello_world_route on the same machines as disnix_tcp_proxy",
                                    self.placed, directory, hello_world_route=["test2"])

    def test_a_proxy_that_is_nowhere(self):
        for directory in DIRECTORIES:
            with self.subTest(directory):
                self.assert_refused("take distribution-with-proxy.nix", self.placed, directory,
                                    disnix_tcp_proxy=[], hello_world_route=[])

    def test_a_parameter_that_there_is_not(self):
        for attribute in (f"{WITH_PROXY}.systemd", SIMPLE):
            self.assert_refused("hello_world_server: there is no parameter greetings",
                                self.paths, attribute, server={"greetings": "Hello"})

    def test_a_value_of_the_wrong_type(self):
        for parameters, sentence in (
            ({"server": {"drainTimeout": 30}}, "hello_world_server: drainTimeout is 30, but it must be a time span"),
            ({"proxy": {"lease": "infinity"}}, 'disnix_tcp_proxy: lease is "infinity", but it must be a time span'),
            ({"proxy": {"port": 70000}}, "disnix_tcp_proxy: port is 70000, but it must be a port"),
            ({"proxy": {"requests": "silence"}}, 'disnix_tcp_proxy: requests is "silence", but it must be "lines"'),
            ({"proxy": {"health": "/run/web"}}, 'disnix_tcp_proxy: health is "/run/web", but it must be a port'),
            ({"proxy": {"health": "127.0.0.1:3000"}}, "health is 127.0.0.1:3000, but clients arrive at port 3000"),
            ({"proxy": {"instanceName": "a b"}}, 'disnix_tcp_proxy: instanceName is "a b"'),
            ({"route": {"reason": None}}, "hello_world_route: reason is null"),
        ):
            with self.subTest(sentence):
                self.assert_refused(sentence, self.paths, f"{WITH_PROXY}.systemd", **parameters)

    def test_socket_activation_without_systemd(self):
        self.assert_refused("enableSystemdSocketActivation", self.paths, f"{WITH_PROXY}.disnix",
                            server={"enableSystemdSocketActivation": True})
        self.assert_refused("enableSystemdSocketActivation", self.paths, SIMPLE,
                            server={"enableSystemdSocketActivation": True})
