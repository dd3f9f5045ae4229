# The program on a machine for the coordinator, instead of Disnix's service.
let
  pkgs = import <nixpkgs> { };
in
pkgs.runCommand "disnix-target" { script = ./target.sh; } ''
  sed -e '1s|.*|#!${pkgs.stdenv.shell}|' -e 's|@dysnomia@|${pkgs.dysnomia}|' $script > $out
  chmod +x $out
''
