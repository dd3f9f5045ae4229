# What working on the project needs, apart from what its tests install for themselves.
{ mkShell, disnix-proxy-example, clippy, rustfmt, rust-analyzer, python3 }:

mkShell {
  inputsFrom = [ disnix-proxy-example ];
  packages = [ clippy rustfmt rust-analyzer python3 ];
}
