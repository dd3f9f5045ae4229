# Without flakes:
#
#   nix-build -A disnix-proxy-example
#   nix-shell -A shell
{ pkgs ? import <nixpkgs> { } }:

let
  disnix-proxy-example = pkgs.callPackage ./nix/package.nix { };
in
{
  inherit disnix-proxy-example;
  overlay = import ./nix/overlay.nix;
  module = ./nix/module.nix;
  shell = pkgs.callPackage ./nix/shell.nix { inherit disnix-proxy-example; };
}
