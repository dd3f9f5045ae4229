# A package of links to programs of the machine. It must not use stdenv, which is made of such packages. A missing
# program becomes a dangling link, because it may exist where the package is used.
{ system }:

name:
{ programs ? [ ]
  # Further links: { "lib/systemd" = "/usr/lib/systemd"; }
, links ? { }
, meta ? { }
, passthru ? { }
}:

derivation {
  inherit name system;
  builder = "/bin/bash";
  args = [ "-eu" ./link.sh ];
  directories = map (from: "${from}=${links.${from}}") (builtins.attrNames links);
  inherit programs;
}
// passthru
// {
  inherit meta passthru;
}
