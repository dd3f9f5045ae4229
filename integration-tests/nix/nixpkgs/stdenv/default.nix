# The standard environment: mkDerivation with the usual phases, and the tools of the machine.
{ lib, system, pkgs }:

let
  initialPath = [
    pkgs.coreutils
    pkgs.findutils
    pkgs.diffutils
    pkgs.gnused
    pkgs.gnugrep
    pkgs.gawk
    pkgs.gnutar
    pkgs.gzip
    pkgs.bash
    pkgs.patch
    pkgs.gnumake
    pkgs.gcc
  ];

  shell = "${pkgs.bash}/bin/bash";

  platform = import ./platform.nix { inherit lib system; };

  stdenv = {
    name = "stdenv-of-this-machine";
    inherit system shell initialPath;
    hostPlatform = platform;
    buildPlatform = platform;
    targetPlatform = platform;
    cc = pkgs.gcc;
    mkDerivation = import ./make-derivation.nix { inherit lib system shell initialPath; };

    inherit (platform)
      isLinux
      isDarwin
      isCygwin
      isBSD
      isSunOS
      ;
  };
in
{
  inherit stdenv;
  runtimeShell = shell;
  inherit (platform) isLinux;
}
