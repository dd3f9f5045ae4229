# Without flakes: `nix-build` builds the package, `nix-shell` opens a development shell. For other
# expressions: `overlay` for nixpkgs, `module` for NixOS.
{ pkgs ? import <nixpkgs> { } }:

let
  disnix-proxy-example = pkgs.callPackage ./nix/package.nix { };
in
disnix-proxy-example
// {
  inherit disnix-proxy-example;
  overlay = import ./nix/overlay.nix;
  module = ./nix/module.nix;
  shell = pkgs.callPackage ./nix/shell.nix { inherit disnix-proxy-example; };
}
