# A switch to a configuration with new versions of both the server and the proxy. There is a client every
# 20 ms, a hundred during the lock, and one that is connected when it begins: none fails.
{
  name = "disnix-proxy-example-upgrade-under-load";

  nodes = {
    server =
      { pkgs, ... }:
      let
        package = pkgs.callPackage ../package.nix { };
      in
      {
        imports = [
          ../module.nix
          ./plain-server.nix
        ];
        services.disnix-tcp-proxy.instances.web = {
          listen = [ 5001 ];
          target = "127.0.0.1:5000";
          openFirewall = true;
        };

        specialisation.upgraded.configuration = {
          plainServer.greeting = "Hello again!";
          services.disnix-tcp-proxy.package = pkgs.runCommand "disnix-proxy-example-upgraded" { } ''
            cp --recursive --no-preserve=ownership ${package} $out
            chmod --recursive u+w $out
            substituteInPlace $(grep -l ${package} $out/lib/systemd/system/*.service) --replace-fail ${package} $out
          '';
        };
      };
    client = ./client.nix;
  };

  testScript = ''
    upgraded = "/run/current-system/specialisation/upgraded"
    program = "readlink /proc/$(systemctl show --value -p MainPID disnix-tcp-proxy@web.service)/exe"

    def wait_for_gate(gate: str) -> None:
        server.wait_until_succeeds(f"disnix-tcp-proxyctl --json status --wake | grep -E '\"gate\": ?\"{gate}\"'")

    def wait_for_result(unit: str, result: str) -> None:
        client.wait_until_succeeds(f"journalctl -u {unit}.service | grep '{result}'")

    start_all()
    server.wait_for_unit("hello.service")
    server.wait_for_unit("disnix-tcp-proxy@web.socket")
    client.wait_for_unit("multi-user.target")
    client.succeed("systemd-run --unit steady load steady server 5001")
    client.succeed("systemd-run --unit held load held server 5001")
    wait_for_result("held", "connected")
    before = server.succeed(program)

    with subtest("The lock waits for the connected client"):
        server.succeed("systemd-run --unit lock disnix-tcp-proxyctl lock --lease 10min")
        wait_for_gate("draining")
        client.succeed("systemd-run --unit crowd load crowd server 5001 100")
        client.succeed("systemctl stop held.service")
        wait_for_result("held", "1 served, 0 failed")
        wait_for_gate("locked")

    with subtest("Server and proxy are replaced, and the lock holds"):
        server.succeed(f"{upgraded}/bin/switch-to-configuration test")
        assert server.succeed(program) != before, "the proxy was not restarted"
        wait_for_gate("locked")

    with subtest("The new version serves the waiting clients"):
        server.succeed("disnix-tcp-proxyctl unlock")
        wait_for_result("crowd", "100 served, 0 failed")
        answer = client.succeed("echo hello | hello-world-client server 5001")
        assert answer.strip() == "Hello again!", answer

    with subtest("No client has failed"):
        client.succeed("systemctl stop steady.service")
        wait_for_result("steady", "[0-9] served, 0 failed")
  '';
}
