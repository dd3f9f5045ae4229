# Server and proxy both start for their first client, and exit when they are idle.
{
  name = "disnix-proxy-example-with-socket-activation";

  nodes = {
    server = {
      imports = [ ../module.nix ];
      services.hello-world-server = {
        enable = true;
        listen = [ "127.0.0.1:5000" ];
        exitIdleTime = "2s";
      };
      services.disnix-tcp-proxy.instances.web = {
        listen = [ 5001 ];
        target = "127.0.0.1:5000";
        exitIdleTime = "2s";
        openFirewall = true;
      };
    };
    client = ./client.nix;
  };

  testScript = ''
    services = ["disnix-tcp-proxy@web.service", "hello-world-server.service"]

    start_all()
    server.wait_for_unit("disnix-tcp-proxy@web.socket")
    server.wait_for_unit("hello-world-server.socket")
    client.wait_for_unit("multi-user.target")

    with subtest("Nothing runs without clients"):
        for service in services:
            server.require_unit_state(service, "inactive")

    for _ in range(3):
        with subtest("The first client starts both"):
            answer = client.succeed("echo hello | hello-world-client server 5001")
            assert answer.strip() == "Hello world!", answer

        with subtest("Both exit when they are idle"):
            for service in services:
                server.wait_until_succeeds(f"systemctl show -p ActiveState {service} | grep =inactive")

    with subtest("A hundred clients at once"):
        client.succeed("load crowd server 5001 100")
  '';
}
