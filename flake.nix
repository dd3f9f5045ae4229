{
  description = "Socket-activated services and a TCP proxy whose upgrades lose no connection";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;

      forEachSystem =
        function:
        lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
          system:
          function {
            pkgs = nixpkgs.legacyPackages.${system};
            package = self.packages.${system}.default;
          }
        );

      programs = {
        disnix-tcp-proxy = "A TCP proxy with a gate";
        disnix-tcp-proxyctl = "Locks, drains and controls it";
        disnix-tcp-proxy-inetd = "Runs a program for each client that is handed over";
        hello-world-server = "An example of a service that systemd starts for its first client";
        hello-world-client = "Talks to it";
      };
    in
    {
      packages = forEachSystem (
        { pkgs, ... }:
        rec {
          disnix-proxy-example = pkgs.callPackage ./nix/package.nix { };
          default = disnix-proxy-example;
        }
      );

      apps = forEachSystem (
        { pkgs, package }:
        let
          app = program: description: {
            type = "app";
            program = "${program}";
            meta = { inherit description; };
          };

          demo = pkgs.writeShellScript "demo" ''
            exec ${package}/libexec/disnix-proxy-example/atomic-upgrade --programs ${package}/bin "$@"
          '';
        in
        lib.mapAttrs (name: app "${package}/bin/${name}") programs
        // {
          default = app "${package}/bin/disnix-tcp-proxy" programs.disnix-tcp-proxy;
          demo = app demo "Shows an atomic upgrade in a few seconds";
        }
      );

      devShells = forEachSystem (
        { pkgs, package }:
        {
          default = pkgs.callPackage ./nix/shell.nix { disnix-proxy-example = package; };
        }
      );

      overlays.default = import ./nix/overlay.nix;

      nixosModules.default = import ./nix/module.nix;

      checks = forEachSystem ({ pkgs, package }: { inherit package; } // import ./nix/tests { inherit pkgs; });
    };
}
