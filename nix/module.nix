# NixOS: services.disnix-tcp-proxy.instances.<name>, services.disnix-tcp-proxy-inetd.<name> and
# services.hello-world-server.
#
# The sandbox, the start and the end of the processes are defined once, in systemd-units/. This module
# installs those units, and its options add drop-ins. How to use it: doc/nixos.md.
{
  imports = [
    ./module/disnix-tcp-proxy.nix
    ./module/disnix-tcp-proxy-inetd.nix
    ./module/hello-world-server.nix
    ./module/shared.nix
  ];
}
