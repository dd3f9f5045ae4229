# Command line options from an attribute set: { exit-idle-time = "30s"; } gives
# [ "--exit-idle-time=30s" ]. Nulls are left out.
{ lib }:

options:
lib.mapAttrsToList (name: value: "--${name}=${toString value}") (
  lib.filterAttrs (_: value: value != null) options
)
