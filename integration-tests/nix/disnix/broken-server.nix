# The package with a server that does not start. For the parameter `package` of server.
let
  pkgs = import <nixpkgs> { };
  package = pkgs.callPackage ../../../nix/package.nix { };
  server = pkgs.writeScript "hello-world-server" ''
    #! ${pkgs.stdenv.shell}
    echo "this version does not start" >&2
    exit 1
  '';
in
pkgs.runCommand "disnix-proxy-example-broken" { } ''
  install -D -m 755 ${server} $out/bin/hello-world-server
  ln -s ${package}/lib $out/lib
''
