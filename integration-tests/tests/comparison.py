"""Comparison with systemd-socket-proxyd, which this proxy replaces."""

from lab.case import HostTest

SOCKET_PROXYD = "/lib/systemd/systemd-socket-proxyd"
ASK_AND_HALF_CLOSE = r"printf 'hello\r\n' | timeout 5 nc -N 127.0.0.1 {port}"
TRIES = 20


class HalfClose(HostTest):
    def setUp(self):
        super().setUp()
        self.start_server()
        # Already running: this compares the half-close, not the start.
        self.host.client(5000).ask("hello")

    def _answers(self, port):
        command = ASK_AND_HALF_CLOSE.format(port=port)
        return [self.host.run(["sh", "-c", command], check=False).strip() for _ in range(TRIES)]

    def test_nc_gets_its_answer_through_this_proxy_and_not_through_systemd_socket_proxyd(self):
        self.start_proxy()
        self.host.write("/etc/systemd/system/other.socket", "[Socket]\nListenStream=5009\n")
        self.host.write("/etc/systemd/system/other.service",
                        f"[Service]\nExecStart={SOCKET_PROXYD} 127.0.0.1:5000\n")
        self.host.systemctl("daemon-reload")
        self.host.systemctl("start", "other.socket")
        ours, theirs = self._answers(5001), self._answers(5009)
        print(f"answers that nc -N got: disnix-tcp-proxy {len([a for a in ours if a])} of {TRIES}, "
              f"systemd-socket-proxyd {len([a for a in theirs if a])} of {TRIES}")
        self.assertEqual(ours, ["Hello world!"] * TRIES)
        self.assertLess(len([answer for answer in theirs if answer]), TRIES)


class Client(HostTest):
    def test_hello_world_client_in_a_pipe_prints_the_answer(self):
        self.start_server()
        self.start_proxy()
        for port in ("5000", "5001"):
            self.assertEqual(self.host.run(["hello-world-client", "127.0.0.1", port],
                                           input="hello\n").strip(), "Hello world!")

    def test_hello_world_client_says_how_it_failed(self):
        self.host.systemctl("start", "hello-world-server.socket")
        for status, arguments in (
            (2, ["127.0.0.1"]),
            (3, ["no-such-host.invalid", "5000"]),
            (4, ["127.0.0.1", "5999"]),
        ):
            done = self.host.result(["hello-world-client", *arguments], input="hello\n")
            self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
            self.assertTrue(done.stderr.strip())
        with self.host.upstream(5998), self.host.upstream(5997) as closing:
            done = self.host.result(["hello-world-client", "127.0.0.1", "5998",
                                     "--answer-timeout", "1s"], input="hello\n")
            self.assertEqual(done.returncode, 5, done.stderr)
            client = self.host.start(["sh", "-c", "echo hello | hello-world-client 127.0.0.1 5997"])
            closing.accept().reset()
            self.assertEqual(client.wait(), 6)
