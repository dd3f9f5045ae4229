# For no process manager in particular: the description itself.
common: process:

common.managed
  {
    inherit (process) name;
  }
  ''
    cp ${common.pkgs.writeText "${process.name}.json" (builtins.toJSON process.given)} $out/${process.name}.json
  ''
