# The package with another version's store path, and the same programs, so that nothing is compiled.
# For the parameter `package` of server, proxy and route.
{ version }:

let
  pkgs = import <nixpkgs> { };
  package = pkgs.callPackage ../../../nix/package.nix { };
in
pkgs.runCommand "disnix-proxy-example-${version}" { } ''
  cp -r ${package} $out
  chmod -R u+w $out
  echo ${version} > $out/version
  substituteInPlace $(grep -l ${package} $out/lib/systemd/system/*.service) --replace-fail ${package} $out
''
