# Tests of the module in virtual machines with NixOS:
#
#   nix-build nix/tests -A upgrade-under-load
{ pkgs ? import <nixpkgs> { } }:

let
  # Called nixosTest before nixpkgs 23.05.
  runTest = pkgs.testers.runNixOSTest or pkgs.nixosTest;
in
{
  without-proxy = runTest ./without-proxy.nix;
  with-proxy = runTest ./with-proxy.nix;
  with-socket-activation = runTest ./with-socket-activation.nix;
  upgrade-under-load = runTest ./upgrade-under-load.nix;
}
