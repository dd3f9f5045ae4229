"""The upgrades that must lose no client. Each can be repeated, with another `number`."""

from lab.deployment import GREETING, DeploymentTest, Desired, another_version


class Upgrades(DeploymentTest):
    """Everything is deployed, on test1."""

    def setUp(self):
        super().setUp()
        self.deploy(Desired())
        self.answer = GREETING
        self.assertEqual(self.greeting(), GREETING)

    def server_moves(self, number):
        """Moves the server to the other host, with a new greeting."""
        return self._server_gets(number, distribution="server-on-test2.nix" if number % 2 else "")

    def server_changes(self, number):
        """Another package, with a new greeting."""
        return self._server_gets(number, server={"package": another_version(number)})

    def proxy_changes(self, number):
        """Another package."""
        before = self.proxy_program()
        upgrade = self.under_load(self.models(Desired(proxy={"package": another_version(number)})),
                                  [self.answer])
        self.assertTrue(upgrade.succeeded, self.deployer.output)
        self.assertNotEqual(self.proxy_program(), before)
        return upgrade

    def both_change_and_activation_fails(self, number):
        """An activation fails when the new server on the other host and the new proxy are already up, and all
        is rolled back."""
        before = self.proxy_program()
        upgrade = self.under_load(
            self.models(Desired(distribution="failure-and-server-on-test2.nix", fails=True,
                                server=self._version(number), proxy={"package": another_version(number)})),
            [self.answer, _greeting(number)])
        self.assertFalse(upgrade.succeeded)
        self.assertEqual(upgrade.answers_since, {self.answer})
        self.assertEqual(self.proxy_program(), before)
        self.assertEqual(self.proxy_status()["target"], "test1:3001")
        return upgrade

    def _server_gets(self, number, distribution="", server=None):
        answers = [self.answer, _greeting(number)]
        proxy = self.proxy_status()["pid"]
        upgrade = self.under_load(
            self.models(Desired(distribution=distribution, server={**self._version(number), **(server or {})})), answers)
        self.assertTrue(upgrade.succeeded, self.deployer.output)
        self.assertEqual(upgrade.answers_since, {answers[1]})
        if self.flavour.has_route:
            self.assertEqual(self.proxy_status()["pid"], proxy, "the proxy must be left alone")
        self.answer = answers[1]
        return upgrade

    def _version(self, number):
        return {"greeting": f'"{_greeting(number)}"'}


def _greeting(number):
    return f"Hello from version {number}!"
