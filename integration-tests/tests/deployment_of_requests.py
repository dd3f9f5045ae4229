"""Real Disnix order, with `requests = "lines"`: a client that is never asked to leave gets its answers from
version 1, then from version 2."""

import threading

from lab.case import heavy, only_on
from lab.deployment import GREETING, PROCESSES, SOCKET_ACTIVATION, SYSTEMD, DeploymentTest, Desired

NEXT = "Hello from version 2!"
CLIENTS = 5
LINES = {"requests": '"lines"'}


class Staying(threading.Thread):
    """Says hello on the same connection all the time."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self._client = client
        self._over = threading.Event()
        self.answers, self.error = [], None
        self.start()

    def run(self):
        try:
            while not self._over.wait(0.05):
                self.answers.append(self._client.ask())
            self._client.quit()
        except OSError as error:
            self.error = error

    def leave(self):
        """Its answers, each as often as it came."""
        self._over.set()
        self.join()
        if self.error:
            raise AssertionError(f"after {len(self.answers)} answers: {self.error}")
        return self.answers


class _RequestsOfDisnix:
    @heavy
    def test_clients_stay_connected_while_the_server_is_replaced(self):
        self.deploy(Desired(proxy=LINES))
        staying = [Staying(self.client(timeout=60)) for _ in range(CLIENTS)]
        self.deploy(Desired(proxy=LINES, server={"greeting": f'"{NEXT}"'}))
        self.assertEqual(self.greeting(), NEXT)
        for client in staying:
            answers = client.leave()
            since = answers.index(NEXT)
            self.assertGreater(since, 0)
            self.assertEqual(set(answers[:since]), {GREETING})
            self.assertEqual(set(answers[since:]), {NEXT})


@only_on("257")
class Systemd(_RequestsOfDisnix, DeploymentTest):
    flavour = SYSTEMD


@only_on("252")
class SocketActivation(_RequestsOfDisnix, DeploymentTest):
    flavour = SOCKET_ACTIVATION


@only_on("252")
class Processes(_RequestsOfDisnix, DeploymentTest):
    flavour = PROCESSES
