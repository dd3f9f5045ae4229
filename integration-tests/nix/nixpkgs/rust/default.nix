# The machine's Rust: its cargo, its crates, its build directory. The harness sets their paths in the environment
# (see integration-tests/lab/nix.py).
{ lib, pkgs }:

let
  cargo = pkgs.runCommand "cargo" { } ''
    mkdir -p $out/bin
    for program in cargo cargo-clippy cargo-fmt clippy-driver rustc rustdoc rustfmt
    do
        ln -s "${builtins.getEnv "DISNIX_PROXY_EXAMPLE_RUST"}/$program" $out/bin
    done
  '';
in
{
  inherit cargo;
  # Cargo checks the version when it runs.
  rustc = cargo // { version = "1.999-of-this-machine"; };
  clippy = cargo;
  rustfmt = cargo;
  rust-analyzer = cargo;

  rustPlatform = {
    buildRustPackage = import ./build-rust-package.nix { inherit lib cargo; inherit (pkgs) stdenv util-linux; };
    rust = { inherit cargo; rustc = cargo; };
  };
}
