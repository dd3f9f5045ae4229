# The platform attributes of stdenv for a system such as x86_64-linux.
{ lib, system }:

let
  parts = lib.splitString "-" system;
  kernel = lib.last parts;
  cpu = lib.head parts;
  triple = "${cpu}-unknown-${kernel}-gnu";
  platform = {
    inherit system;
    config = triple;
    isLinux = kernel == "linux";
    isDarwin = kernel == "darwin";
    isCygwin = kernel == "cygwin";
    isBSD = lib.hasSuffix "bsd" kernel;
    isSunOS = kernel == "solaris";
    isx86_64 = cpu == "x86_64";
    isAarch64 = cpu == "aarch64";
    is64bit = lib.hasSuffix "64" cpu;
    parsed = {
      cpu.name = cpu;
      kernel.name = kernel;
    };
    rust = {
      rustcTarget = triple;
      rustcTargetSpec = triple;
    };
    canExecute = other: other.system == system;
    emulatorAvailable = _: true;
  };
in
platform
