{ attrsets }:

rec {
  licenses = {
    mit = {
      shortName = "mit";
      spdxId = "MIT";
      fullName = "MIT License";
      free = true;
    };
  };

  platforms = {
    linux = [ "x86_64-linux" "aarch64-linux" "i686-linux" "armv7l-linux" "riscv64-linux" ];
    all = platforms.linux ++ [ "x86_64-darwin" "aarch64-darwin" ];
    unix = platforms.all;
  };

  maintainers = { };

  systems.flakeExposed = platforms.linux;

  getExe = package: getExe' package (package.meta.mainProgram or (throw "${package.name} names no mainProgram"));
  getExe' = package: program: "${attrsets.getBin package}/bin/${program}";
}
