"""The models of the machines agree with each other."""

from lab.case import NixTest
from lab.nix import EVERYTHING, STAND_INS
from lab.prerequisites import PROJECT


class Machines(NixTest):
    def setUp(self):
        super().setUp()
        self.deployments = {name: self.nix.evaluate(EVERYTHING, name, self.nix.frameworks)
                            for name in ("deployment", "deployment-simple")}

    def test_every_network_has_the_machines_of_the_infrastructure(self):
        for name, deployment in self.deployments.items():
            self.assertEqual(set(deployment["networks"]), {"network.nix", "network-virtualbox.nix"})
            for file, network in deployment["networks"].items():
                with self.subTest(f"{name}/{file}"):
                    self.assertEqual(set(network), set(deployment["infrastructure"]))

    def test_machines_take_services_and_their_firewall_has_the_ports(self):
        for name, deployment in self.deployments.items():
            ports = deployment["idresources"]["ports"]
            for machine, configuration in deployment["networks"]["network.nix"].items():
                with self.subTest(f"{name}, {machine}"):
                    self.assertTrue(configuration["services"]["disnix"]["enable"])
                    self.assertTrue(configuration["services"]["openssh"]["enable"])
                    self.assertEqual(configuration["networking"]["firewall"]["allowedTCPPortRanges"],
                                     [{"from": ports["min"], "to": ports["max"]}])

    def test_virtualbox_machines_say_so(self):
        for deployment in self.deployments.values():
            for configuration in deployment["networks"]["network-virtualbox.nix"].values():
                self.assertEqual(configuration["deployment"]["targetEnv"], "virtualbox")

    def test_nixops_gets_the_description_of_the_network(self):
        for name in self.deployments:
            with self.subTest(name):
                here = PROJECT / name / "DistributedDeployment"
                network = self.nix.evaluate(here / "network-virtualbox.nix", "network")
                self.assertEqual(network["description"], "disnix-proxy-example")
                # disnixos-env without NixOps treats every name in this file as a machine.
                names = self.nix.evaluate(STAND_INS / "names.nix", arguments={"file": here / "network.nix"})
                self.assertEqual(names, ["test1", "test2"])

    def test_no_port_is_given_twice_or_out_of_range(self):
        for deployment in self.deployments.values():
            ports = list(deployment["ids"]["ports"].values())
            self.assertEqual(len(ports), len(set(ports)))
            for port in ports:
                self.assertIn(port, range(deployment["idresources"]["ports"]["min"],
                                          deployment["idresources"]["ports"]["max"] + 1))
