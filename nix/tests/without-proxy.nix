# The server has its own listener, so clients are refused while it is replaced. The proxy prevents that.
{
  name = "disnix-proxy-example-without-proxy";

  nodes = {
    server = {
      imports = [ ./plain-server.nix ];
      networking.firewall.allowedTCPPorts = [ 5000 ];
      specialisation.upgraded.configuration.plainServer.greeting = "Hello again!";
    };
    client = ./client.nix;
  };

  testScript = ''
    start_all()
    server.wait_for_unit("hello.service")
    client.wait_for_unit("multi-user.target")

    def greeting() -> str:
        return client.succeed("echo hello | hello-world-client server 5000").strip()

    with subtest("The server answers"):
        assert greeting() == "Hello world!"

    with subtest("While it is stopped, clients are refused"):
        server.succeed("systemctl stop hello.service")
        client.fail("echo hello | hello-world-client server 5000")

    with subtest("After an upgrade the new version answers"):
        server.succeed("systemctl start hello.service")
        server.succeed("/run/current-system/specialisation/upgraded/bin/switch-to-configuration test")
        client.wait_until_succeeds("echo hello | hello-world-client server 5000")
        assert greeting() == "Hello again!"
  '';
}
