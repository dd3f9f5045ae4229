# The client machine.
{ pkgs, ... }:

{
  environment.systemPackages = [
    (pkgs.callPackage ../package.nix { })
    (pkgs.writeScriptBin "load" ''
      #!${pkgs.python3}/bin/python3
      ${builtins.readFile ./load.py}
    '')
  ];
}
