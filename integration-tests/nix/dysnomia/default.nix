# A Dysnomia for tests: the modules that the models in this project use, with Dysnomia's calling
# convention, MODULE OPERATION COMPONENT [CONTAINER], and the container's properties as environment
# variables. Without users and groups, snapshots, and the command `dysnomia` itself.
# DYSNOMIA=PATH in the environment takes a real one.
{ lib, stdenv, runCommand }:

let
  real = builtins.getEnv "DYSNOMIA";
in
if real != "" then
  runCommand "dysnomia" { } ''
    mkdir -p $out/libexec
    ln -s ${lib.escapeShellArg real}/libexec/dysnomia $out/libexec/dysnomia
  ''
else
  runCommand "dysnomia" { modules = ./modules; } ''
    mkdir -p $out/libexec/dysnomia
    for module in $modules/*
    do
        sed "1s|.*|#!${stdenv.shell}|" "$module" > "$out/libexec/dysnomia/$(basename "$module")"
    done
    chmod +x $out/libexec/dysnomia/*
  ''
