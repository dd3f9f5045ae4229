# Tools for work on the project; its tests install theirs.
{ mkShell, disnix-proxy-example, clippy, rustfmt, rust-analyzer, python3 }:

mkShell {
  inputsFrom = [ disnix-proxy-example ];
  packages = [ clippy rustfmt rust-analyzer python3 ];
}
