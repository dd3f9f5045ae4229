"""The evaluation of nix/module.nix: the effect of options, and refused values."""

import re

from lab import project
from lab.case import NixTest
from lab.nix import NixFailed
from lab.nixos import EVALUATE, System
from lab.prerequisites import PROJECT

WEB = {"listen": [80]}
HEAD = ["[Unit]", "[Service]", "X-StopIfChanged=false"]


def proxies(**instances):
    """A configuration with these proxies."""
    return {"services": {"disnix-tcp-proxy": {"instances": instances}}}


def server(**options):
    """A configuration with the server."""
    return {"services": {"hello-world-server": {"enable": True, **options}}}


def program_defaults(program):
    """The defaults of a program, by variable without its prefix."""
    source = (PROJECT / "src" / program / "options.rs").read_text()
    attributes = re.findall(r"#\[arg\((.*?)\)\]", source, re.S)
    pattern = r'env = "[A-Z]+_[A-Z]+_[A-Z]+_(\w+)".*default_value(?:_t)? = "?([^",\n]+)'
    found = (re.search(pattern, text, re.S) for text in attributes)
    return {match[1]: match[2] for match in found if match}


def unit_environment(unit):
    """The variables that a shipped unit sets, without their prefix."""
    return dict(re.findall(r"(?m)^Environment=[A-Z]+_[A-Z]+_[A-Z]+_(\w+)=(.*)$",
                           (project.UNITS / unit).read_text()))


def both(web, listen=81):
    """A configuration with a proxy and the server."""
    return {"services": proxies(web=web)["services"] | server(listen=[listen])["services"]}


class Module(NixTest):
    def evaluate(self, configuration, attribute):
        return self.nix.evaluate(EVALUATE, attribute, {"configuration": configuration})

    def lines(self, configuration, unit):
        """The drop-in of a unit."""
        return [line for line in self.evaluate(configuration, "units")[unit].splitlines() if line]

    def refused(self, configuration):
        """The error of Nix for a refused configuration."""
        with self.assertRaises(NixFailed) as caught:
            self.evaluate(configuration, "units")
            self.evaluate(configuration, "ports")
        return caught.exception.message


class Options(Module):
    def test_the_package_says_what_happens_unless_an_option_does(self):
        self.assertEqual(self.lines(proxies(web=WEB), "disnix-tcp-proxy@web.service"), HEAD)
        self.assertEqual(self.lines(proxies(web=WEB), "disnix-tcp-proxy@web.socket"),
                         ["[Unit]", "[Socket]", "ListenStream=80"])
        self.assertEqual(self.lines(proxies(web=WEB), "disnix-tcp-proxy-control@web.socket"),
                         ["[Unit]", "[Socket]"])
        self.assertEqual(self.lines(server(), "hello-world-server.service"), HEAD)
        self.assertEqual(self.lines(server(), "hello-world-server.socket"),
                         ["[Unit]", "[Socket]", "ListenStream=", "ListenStream=5000"])

    def test_metrics_are_answered_only_if_they_are_turned_on(self):
        name = "disnix-tcp-proxy-metrics.socket"
        self.assertNotIn(name, self.evaluate(proxies(web=WEB), "units"))
        configuration = proxies(web=WEB)
        configuration["services"]["disnix-tcp-proxy"]["metrics"] = {"enable": True}
        self.assertEqual(self.lines(configuration, name),
                         ["[Unit]", "[Socket]", "ListenStream=", "ListenStream=127.0.0.1:9549",
                          "ListenStream=/run/systemd/report/io.github.disnix-proxy-example.Proxy"])

    def test_an_update_of_locales_or_time_zones_changes_no_unit(self):
        for name, text in self.evaluate(both(WEB), "units").items():
            with self.subTest(name):
                self.assertNotRegex(text, "LOCALE_ARCHIVE|TZDIR")

    PROXY = {
        "target": ("[2001:db8::1]:80", "TARGET=[2001:db8::1]:80"),
        "exitIdleTime": ("1min 30s", "EXIT_IDLE_TIME=1min 30s"),
        "connectTimeout": (5, "CONNECT_TIMEOUT=5"),
        "drainTimeout": ("infinity", "DRAIN_TIMEOUT=infinity"),
        "keepConnections": (False, "KEEP_CONNECTIONS=no"),
        "respawn": (False, "RESPAWN=no"),
        "idleTimeout": ("1h", "IDLE_TIMEOUT=1h"),
        "stallTimeout": ("1min", "STALL_TIMEOUT=1min"),
        "keepalive": ("2s", "KEEPALIVE=2s"),
        "connectionsMax": (512, "CONNECTIONS_MAX=512"),
        "connectionsMaxPerSource": (50, "CONNECTIONS_MAX_PER_SOURCE=50"),
        "threads": (2, "THREADS=2"),
        "proxyProtocol": ("v2", "PROXY_PROTOCOL=v2"),
        "requests": ("http", "REQUESTS=http"),
        "detachIdle": ("1min", "DETACH_IDLE=1min"),
        "health": ("127.0.0.1:8081", "HEALTH=127.0.0.1:8081"),
        "logLevel": ("debug", "LOG_LEVEL=debug"),
    }
    SERVER = {
        "exitIdleTime": ("infinity", "EXIT_IDLE_TIME=infinity"),
        "drainTimeout": ("5min", "DRAIN_TIMEOUT=5min"),
        "connectionsMax": (1, "CONNECTIONS_MAX=1"),
        "greeting": ('100 % "free"', 'GREETING=100 %% \\"free\\"'),
        "logLevel": ("error", "LOG_LEVEL=error"),
    }
    ELSEWHERE = {"enable", "listen", "lock", "openFirewall", "backlog", "package"}

    def test_each_option_of_a_proxy_is_a_variable_of_its_environment(self):
        options = {name: value for name, (value, _) in self.PROXY.items()}
        self._environment(proxies(web=WEB | options), "disnix-tcp-proxy@web.service",
                          "DISNIX_TCP_PROXY", self.PROXY)

    def test_each_option_of_the_server_is_a_variable_of_its_environment(self):
        options = {name: value for name, (value, _) in self.SERVER.items()}
        self._environment(server(**options), "hello-world-server.service",
                          "HELLO_WORLD_SERVER", self.SERVER)

    def _environment(self, configuration, unit, prefix, options):
        expected = {f'Environment="{prefix}_{line}"' for _, line in options.values()}
        self.assertEqual(set(self.lines(configuration, unit)), expected | set(HEAD))

    def test_no_option_has_been_forgotten_here(self):
        options = self.evaluate(both(WEB), "options")
        self.assertEqual(set(options["instances"]) - self.ELSEWHERE, set(self.PROXY))
        self.assertEqual(set(options["server"]) - self.ELSEWHERE, set(self.SERVER))
        self.assertEqual(set(options["proxies"]), {"instances", "metrics", "operators", "package"})

    def test_every_option_of_the_programs_is_there(self):
        """Except those without a meaning for a socket of systemd."""
        for program, options, elsewhere in (
            ("proxy", self.PROXY, {"listen", "bind_timeout", "take_over", "control", "runtime_directory",
                                   "state_directory"}),
            ("hello", self.SERVER, {"listen", "bind_timeout", "handover"}),
        ):
            source = (PROJECT / "src" / program / "options.rs").read_text()
            variables = re.findall(r'env = "(?:DISNIX_TCP_PROXY|HELLO_WORLD_SERVER)_(\w+)"', source)
            known = {line.partition("=")[0] for _, line in options.values()}
            self.assertEqual({name.lower() for name in variables} - elsewhere,
                             {name.lower() for name in known}, program)

    def test_the_document_lists_every_option_and_what_the_programs_do_without_it(self):
        document = (PROJECT / "doc" / "nixos.md").read_text()
        options = document.partition("## Options")[2].partition("\n## ")[0]
        proxy, hello = options.split("`services.hello-world-server`, the example")
        for text, program, variables, unit, others in (
            (proxy, "proxy", self.PROXY, "disnix-tcp-proxy@.service",
             {"enable", "listen", "openFirewall", "backlog",
              "lock.services", "lock.timeout", "lock.progressTimeout", "lock.closeIdle", "lock.lease"}),
            (hello, "hello", self.SERVER, "hello-world-server.service",
             {"enable", "listen", "openFirewall", "package"}),
        ):
            rows = dict(re.findall(r"(?m)^\| `([\w.]+)` \| (.*?) ?\|", text))
            self.assertEqual(set(rows), set(variables) | others)
            defaults = program_defaults(program) | unit_environment(unit)
            for option, (_, line) in variables.items():
                name = line.partition("=")[0]
                self.assertEqual(rows[option], defaults.get(name, "none"), option)

    def test_a_lock_has_its_services(self):
        lock = {"services": ["myapp", "other@1"], "timeout": 60, "progressTimeout": "30s", "closeIdle": "2s", "lease": "1h"}
        unit = "disnix-tcp-proxy-lock-web.service"
        text = self.evaluate(proxies(web=WEB | {"lock": lock}), "units")[unit]
        self.assertIn("Requires=myapp.service other@1.service\n", text)
        self.assertIn("After=myapp.service other@1.service\n", text)
        self.assertRegex(text, '--instance web lock .* "--timeout=60" "--progress-timeout=30s" "--close-idle=2s" "--lease=1h"')
        wanted = self.evaluate(proxies(web=WEB | {"lock": lock}), "wanted")[unit]
        self.assertEqual(wanted, ["myapp.service", "other@1.service"])
        self.assertNotIn(unit, self.evaluate(proxies(web=WEB), "units"))

    def test_a_socket_listens_at_each_of_its_addresses(self):
        addresses = [80, "192.0.2.1:8080", "[2001:db8::1]:8080", "/run/web.sock"]
        self.assertEqual(
            self.lines(proxies(web={"listen": addresses, "backlog": 9}), "disnix-tcp-proxy@web.socket"),
            ["[Unit]", "[Socket]", "Backlog=9", *(f"ListenStream={address}" for address in addresses)])

    def test_the_address_for_load_balancers_is_one_of_the_socket(self):
        lines = self.lines(proxies(web=WEB | {"health": 8081}), "disnix-tcp-proxy@web.socket")
        self.assertEqual(lines, ["[Unit]", "[Socket]", "ListenStream=80", "ListenStream=8081"])

    def test_what_is_disabled_leaves_nothing(self):
        configuration = proxies(web=WEB | {"enable": False}, other={"listen": [81]})
        units = self.evaluate(configuration, "units")
        self.assertEqual([name for name in units if "web" in name], [])
        self.assertIn("disnix-tcp-proxy@other.socket", units)
        self.assertEqual(self.evaluate(proxies(web=WEB | {"enable": False}), "units"), {})
        self.assertEqual(self.evaluate({}, "units"), {})

    def test_sockets_start_with_the_machine_and_services_with_their_first_client(self):
        wanted = self.evaluate(both(WEB), "wanted")
        for unit, by in wanted.items():
            if unit.endswith(".socket"):
                self.assertEqual(by, ["sockets.target"], unit)
        for unit in ("disnix-tcp-proxy@web.service", "hello-world-server.service"):
            self.assertEqual(wanted[unit], [], unit)

    def test_the_firewall_is_opened_for_what_others_can_reach(self):
        listen = [80, "127.0.0.1:81", "[::1]:82", "192.0.2.1:83", "/run/web.sock"]
        web = {"listen": listen, "openFirewall": True}
        self.assertEqual(self.evaluate(proxies(web=web, closed={"listen": [84]}), "ports"), [80, 83])
        self.assertEqual(self.evaluate(server(openFirewall=True), "ports"), [5000])
        self.assertEqual(self.evaluate(server(), "ports"), [])

    def test_operators_and_programs(self):
        configuration = proxies(web=WEB)
        configuration["services"]["disnix-tcp-proxy"]["operators"] = ["alice", "bob"]
        self.assertEqual(self.evaluate(configuration, "operators"), ["alice", "bob"])
        programs = self.evaluate(configuration, "programs")
        self.assertEqual(len([path for path in programs if "disnix-proxy-example" in path]), 1)


class Types(Module):
    def test_what_is_refused(self):
        cases = {
            "exitIdleTime": ["soon", "", "5 parsecs", "-1s", -1, True],
            "keepalive": ["1s", "1", 1, "1.5 s", "500ms", "0"],
            "connectionsMax": [0, -1, "many"],
            "connectionsMaxPerSource": [0, -1, "few"],
            "stallTimeout": ["soon", -1],
            "threads": [0, -1, "all"],
            "proxyProtocol": ["v3", 2],
            "requests": ["silence", "HTTP", True],
            "detachIdle": ["soon", -1],
            "health": ["tcp", 0, "localhost:80", [80]],
            "logLevel": ["loud"],
            "backlog": [0],
            "openFirewall": ["yes"],
            "target": ["nowhere", "localhost:0", "localhost:65536", "::1:80", "[::1]", "unix:",
                       "vsock:2", 80, "two words:80"],
            "lock": [{"services": ["myapp.service"]}, {"services": ["a b"]},
                     {"services": ["myapp"], "lease": "soon"}, {"services": ["myapp"], "timeout": -1}],
            "listen": [80, ["tcp"], [0], [65536], ["localhost:80"], ["::1:80"], ["192.0.2.1"],
                       ["run/web.sock"], ["80"]],
        }
        for option, values in cases.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    message = self.refused(proxies(web=WEB | {option: value}))
                    self.assertRegex(message, rf"`services\.disnix-tcp-proxy\.instances\.web\.{option}\S*'")
                    self.assertIn("is not of type", message)

    def test_a_refusal_says_what_would_be_right(self):
        self.assertIn("1min 30s", self.refused(server(exitIdleTime="soon")))
        self.assertIn("HOST:PORT", self.refused(proxies(web=WEB | {"target": "nowhere"})))
        self.assertIn("[IPV6]:PORT", self.refused(server(listen=["localhost:80"])))

    def test_what_is_accepted(self):
        cases = {
            "exitIdleTime": ["0", 0, "5", "1.5h", ".5s", "2 weeks 3days", "1M", "100us", "infinity"],
            "keepalive": ["2s", 2, "1min", "10", "infinity", "1min 1s"],
            "target": ["localhost:80", "a-b.example.org:65535", "192.0.2.1:1", "[::1]:80",
                       "unix:/run/app.sock", "/run/app.sock", "unix:@app", "vsock:2:5000"],
        }
        for option, values in cases.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    configuration = proxies(web=WEB | {option: value})
                    lines = self.lines(configuration, "disnix-tcp-proxy@web.service")
                    self.assertTrue(any(line.endswith(f'={value}"') for line in lines), lines)

    def test_an_option_that_does_not_exist(self):
        self.assertRegex(self.refused(proxies(web=WEB | {"lisden": [80]})), "lisden.*does not exist")


class Assertions(Module):
    def assert_failed(self, configuration, *patterns):
        failed = self.evaluate(configuration, "failed")
        self.assertEqual(len(failed), len(patterns), failed)
        for message, pattern in zip(failed, patterns):
            self.assertRegex(message.replace("\n", " "), pattern)

    def test_a_sound_configuration_has_none(self):
        self.assert_failed(proxies(**{"a-B_9" + 22 * "x": WEB, "default": {"listen": [81]}}))

    def test_a_lock_for_services_that_there_are(self):
        lock = {"lock": {"services": ["myapp", "other@1"]}}
        there = {"systemd": {"services": {"myapp": {}, "other@": {}}}}
        self.assert_failed({**proxies(web=WEB | lock), **there})

    def test_a_lock_for_services_that_there_are_not(self):
        lock = {"lock": {"services": ["myapp", "mapp", "other@1", "my"]}}
        there = {"systemd": {"services": {"myapp": {}, "my@": {}}}}
        self.assert_failed({**proxies(web=WEB | lock), **there},
                           "instances.web.lock.services.*no systemd.services.mapp other@1 my[.]")

    def test_names_that_cannot_be(self):
        for name in ("a" * 28, "web.1", "web 1", "web@1", "wéb"):
            with self.subTest(name):
                self.assert_failed(
                    proxies(**{name: WEB}), f"{re.escape(name)}.*letters, digits, - and _, at most 27")

    def test_a_proxy_that_no_client_can_reach(self):
        self.assert_failed(proxies(web={}), r"instances\.web\.listen is empty.*for example")
        self.assert_failed(server(listen=[]), r"hello-world-server\.listen is empty")

    def test_idle_clients_that_cannot_be_detached(self):
        idle = {"detachIdle": "1min"}
        for requests in ({}, {"requests": "none"}):
            self.assert_failed(proxies(web=WEB | idle | requests), "instances.web.detachIdle needs requests")
        self.assert_failed(proxies(web=WEB | {"detachIdle": "infinity"}))
        self.assert_failed(proxies(web=WEB | idle | {"requests": "lines"}))

    def test_requests_of_clients_that_are_handed_over(self):
        target = {"target": "handover:/run/app.sock"}
        self.assert_failed(proxies(web=WEB | target | {"requests": "http"}), "web: the requests.*handed over")
        self.assert_failed(proxies(web=WEB | target | {"requests": "none"}))

    def test_two_on_the_same_address(self):
        for one, other in (
            (80, 80), (80, "127.0.0.1:80"), (80, "[2001:db8::1]:80"), ("[::]:80", "0.0.0.0:80"),
            ("0.0.0.0:80", "192.0.2.1:80"), ("192.0.2.1:80", "192.0.2.1:80"),
            ("/run/a.sock", "/run/a.sock"),
        ):
            with self.subTest(one=one, other=other):
                self.assert_failed(
                    proxies(a={"listen": [one]}, b={"listen": [other]}),
                    rf"a listens on {re.escape(str(one))} and .*b on {re.escape(str(other))}: only one")
        self.assert_failed(proxies(web={"listen": [80, 80]}), "web listens on 80 and .*web on 80")
        self.assert_failed(both(WEB, listen=80), "web listens on 80 and services.hello-world-server on 80")

    def test_two_that_go_together(self):
        self.assert_failed(proxies(
            a={"listen": ["192.0.2.1:80", "/run/a.sock"]},
            b={"listen": ["192.0.2.2:80", "[2001:db8::1]:80", "/run/b.sock"]},
            c={"listen": ["0.0.0.0:81"]},
            d={"listen": ["[2001:db8::1]:81"]}))


class Units(Module):
    """The files in /etc/systemd/system."""

    def test_each_unit_is_the_shipped_one_with_a_drop_in(self):
        system = System(self.nix, both(WEB))
        ours = {"disnix-tcp-proxy-catalog.service", "disnix-tcp-proxy-reopen-web.service",
                "hello-world-server-reopen.service"}
        shipped = {"disnix-tcp-proxy@web.service": "disnix-tcp-proxy@.service",
                   "disnix-tcp-proxy-pause@web.service": "disnix-tcp-proxy-pause@.service",
                   "disnix-tcp-proxy@web.socket": "disnix-tcp-proxy@.socket",
                   "disnix-tcp-proxy-control@web.socket": "disnix-tcp-proxy-control@.socket",
                   "hello-world-server.service": "hello-world-server.service",
                   "hello-world-server-pause.service": "hello-world-server-pause.service",
                   "hello-world-server.socket": "hello-world-server.socket"}
        targets = {"multi-user.target.wants", "sockets.target.wants"}
        self.assertEqual(system.names(), {*ours, *shipped, *targets, *(f"{name}.d" for name in shipped if "pause" not in name)})
        for unit, template in shipped.items():
            text = (system.directory / unit).read_text()
            text = re.sub(r"/nix/store/[^/]*-disnix-proxy-example-[^/]*/bin/", "/usr/bin/", text)
            text = re.sub(r"(?m)^ExecReload=\S+ ", "ExecReload=/bin/sh ", text)
            text = re.sub(r"(?m)^ExecStart=\S+/sleep ", "ExecStart=/bin/sleep ", text)
            text = text.replace("ExecPaths=/nix/store -/usr\n", "ExecPaths=/usr\n")
            self.assertEqual(text, (project.UNITS / template).read_text(), unit)

    def test_a_target_in_another_virtual_machine_may_be_connected_to(self):
        for target, families in (("vsock:2:5000", "AF_VSOCK"), ("127.0.0.1:80", None), (None, None)):
            settings = System(self.nix, proxies(web=WEB | {"target": target})).settings("disnix-tcp-proxy@web.service")
            said = settings[("Service", "RestrictAddressFamilies")]
            self.assertEqual(said[1:], [families] if families else [], target)

    def test_the_drop_ins_have_no_hardening_and_nothing_else_of_their_own(self):
        options = {name: value for name, (value, _) in Options.PROXY.items()} | {"backlog": 5}
        names = set()
        for unit, text in self.evaluate(both(WEB | options), "units").items():
            if "reopen" not in unit and "catalog" not in unit:
                names |= {line.partition("=")[0] for line in text.splitlines() if "=" in line}
        self.assertEqual(names - {"WantedBy"}, {"Environment", "X-StopIfChanged", "Backlog", "ListenStream"})

    def test_packages_may_differ(self):
        """Two packages have units of the same names; each service uses those of its own package."""
        old, new = System(self.nix, both(WEB)), System(self.nix, both(WEB), changed=True)
        for unit in ("disnix-tcp-proxy@web.service", "hello-world-server.service"):
            before, after = old.settings(unit), new.settings(unit)
            differing = {key for key in before | after if before.get(key) != after.get(key)}
            self.assertEqual(differing, {("Service", "ExecStart")}, unit)

    def test_only_another_address_asks_for_the_socket_to_be_opened_again(self):
        unit = "disnix-tcp-proxy-reopen-web.service"
        base = System(self.nix, proxies(web=WEB)).settings(unit)
        changed = System(self.nix, proxies(web=WEB | {"drainTimeout": 5, "backlog": 7}), changed=True)
        self.assertEqual(changed.settings(unit), base)
        moved = System(self.nix, proxies(web={"listen": [81]})).settings(unit)
        self.assertEqual({key for key in base if base[key] != moved[key]}, {("Unit", "X-Reload-Triggers")})
