final: _: {
  disnix-proxy-example = final.callPackage ./package.nix { };
}
