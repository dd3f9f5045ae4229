"""Upgrades of real services whose clients keep their connections: no request fails."""

from lab.case import HostTest
from lab.staying import Http, Redis, StayingClients

PORT = 5001
CLIENTS = 20

NGINX = """worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {{}}
http {{
  keepalive_timeout 10m;
  keepalive_requests 1000000;
  access_log off;
  server {{
    listen 127.0.0.1:8080 backlog=4096;
    return 200 "{version}\\n";
  }}
}}
"""
RESTART = ["--", "sh", "-c", "cp /root/new.conf /etc/nginx/nginx.conf && systemctl restart nginx"]


class ClientsThatStay(HostTest):
    def start_nginx(self):
        self.host.write("/etc/nginx/nginx.conf", NGINX.format(version=1))
        self.host.write("/root/new.conf", NGINX.format(version=2))
        self.host.systemctl("start", "nginx")
        self.start_proxy(target="127.0.0.1:8080")

    def upgrade(self, clients, *command, status=0):
        with clients:
            clients.wait_for_more(3 * CLIENTS)
            done = self.host.result(["disnix-tcp-proxyctl", "lock", *command])
            self.assertEqual(done.returncode, status, done.stderr)
            clients.wait_for_more(3 * CLIENTS)
        self.assertEqual(clients.failures, [])
        print(f"{clients.served} requests, {clients.ended} on connections that had just ended, 0 failed")

    def version(self):
        with self.host.client(PORT) as client:
            return Http.reply(client.send(Http.request))[0]

    def test_without_either_the_drain_is_given_up_and_nothing_is_upgraded(self):
        self.start_nginx()
        clients = StayingClients(self.host, PORT, Http, CLIENTS, pause=1)
        self.upgrade(clients, "--timeout", "2s", *RESTART, status=3)
        self.assertEqual(self.version(), 1)

    def test_clients_that_pause_are_asked_to_come_again(self):
        self.start_nginx()
        clients = StayingClients(self.host, PORT, Http, CLIENTS, pause=2)
        self.upgrade(clients, "--timeout", "30s", "--close-idle", "100ms", *RESTART)
        self.assertEqual(self.version(), 2)

    def test_clients_that_do_not_pause_are_sent_away_by_the_service_itself(self):
        self.start_nginx()
        clients = StayingClients(self.host, PORT, Http, CLIENTS, pause=0)
        self.upgrade(clients, "--timeout", "30s", "--when-closed", "systemctl kill --kill-who=main -s QUIT nginx", *RESTART)
        self.assertEqual(self.version(), 2)

    def test_a_pool_of_redis(self):
        self.host.systemctl("start", "redis-server")
        self.start_proxy(target="127.0.0.1:6379")
        clients = StayingClients(self.host, PORT, Redis, CLIENTS, pause=2)
        self.upgrade(clients, "--timeout", "30s", "--close-idle", "100ms", "--", "systemctl", "restart", "redis-server")
