# A service with its own listener behind the proxy. The target is set at run time.
{
  name = "disnix-proxy-example-with-proxy";

  nodes = {
    server = {
      imports = [
        ../module.nix
        ./plain-server.nix
      ];
      users.users.alice.isNormalUser = true;
      users.users.bob.isNormalUser = true;
      services.disnix-tcp-proxy = {
        operators = [ "alice" ];
        instances.web = {
          listen = [ 5001 ];
          openFirewall = true;
        };
      };
    };
    client = ./client.nix;
  };

  testScript = ''
    start_all()
    server.wait_for_unit("hello.service")
    server.wait_for_unit("disnix-tcp-proxy@web.socket")
    client.wait_for_unit("multi-user.target")

    def greeting() -> str:
        return client.succeed("echo hello | hello-world-client server 5001").strip()

    def status() -> str:
        return server.succeed("disnix-tcp-proxyctl status --wake")

    with subtest("A client waits until the proxy has a target"):
        client.succeed("systemd-run --unit early load crowd server 5001 1")
        server.wait_until_succeeds("systemctl is-active disnix-tcp-proxy@web.service")
        server.succeed("disnix-tcp-proxyctl set-target 127.0.0.1:5000")
        client.wait_until_succeeds("journalctl -u early.service | grep '1 served, 0 failed'")

    with subtest("Only the port of the proxy is open in the firewall"):
        assert greeting() == "Hello world!"
        client.fail("hello-world-client --timeout 2s server 5000 </dev/null")

    with subtest("While the proxy is locked, clients wait, even if server and proxy restart"):
        server.succeed("disnix-tcp-proxyctl lock --lease 10min")
        client.succeed("systemd-run --unit crowd load crowd server 5001 100")
        server.succeed("systemctl stop hello.service")
        server.succeed("systemctl restart disnix-tcp-proxy@web.service")
        server.succeed("systemctl kill --signal KILL disnix-tcp-proxy@web.service")
        assert "locked" in status()
        server.succeed("systemctl start hello.service")
        server.succeed("disnix-tcp-proxyctl unlock")
        client.wait_until_succeeds("journalctl -u crowd.service | grep '100 served, 0 failed'")

    with subtest("Operators may control it, others may not"):
        server.succeed("su alice -c 'disnix-tcp-proxyctl status --wake'")
        server.fail("su bob -c 'disnix-tcp-proxyctl status --wake'")

    with subtest("The journal explains the events"):
        server.succeed("journalctl -x -u disnix-tcp-proxy@web.service | grep 'The gate of the proxy is closed'")

    with subtest("The target survives a reboot, the lock does not"):
        server.succeed("disnix-tcp-proxyctl lock")
        server.shutdown()
        server.start()
        server.wait_for_unit("hello.service")
        client.wait_until_succeeds("echo hello | hello-world-client server 5001")
  '';
}
