# A package that is nothing but links to programs of the machine. It must not use stdenv, which is made
# of such packages. A program that this machine lacks is a link to nowhere: it may be there where the
# package is used.
{ system }:

name:
{ programs ? [ ]
  # What else to link: { "lib/systemd" = "/usr/lib/systemd"; }
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
