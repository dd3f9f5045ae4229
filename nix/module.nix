# NixOS: services.disnix-tcp-proxy.instances.<name> and services.hello-world-server.
#
# What the processes may do, how they start and how they end is said once, in systemd-units/. This
# module installs those units and adds drop-ins with nothing but what its options change.
# How to use it: doc/nixos.md.
{
  imports = [
    ./module/disnix-tcp-proxy.nix
    ./module/hello-world-server.nix
    ./module/shared.nix
  ];
}
