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

  systems.flakeExposed = platforms.linux;
}
