{ lib, rustPlatform, installShellFiles, runtimeShell }:

let
  inherit (lib.importTOML ../Cargo.toml) package;

  # Without what is beside the programs, so that a change there builds nothing anew.
  root = toString ../.;
  wanted = [ "Cargo.lock" "Cargo.toml" "LICENSE" "README.md" "doc" "examples" "src" "systemd-units" "tests" ];
in
rustPlatform.buildRustPackage {
  pname = package.name;
  inherit (package) version;

  src = lib.cleanSourceWith {
    name = "${package.name}-source";
    src = ../.;
    filter = path: _: builtins.elem (builtins.head (lib.splitString "/" (lib.removePrefix "${root}/" path))) wanted;
  };

  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];

  doCheck = true;

  postInstall = ''
    installManPage doc/man/*.[1-8]

    install -D -m 644 -t $out/lib/systemd/system systemd-units/*.service systemd-units/*.socket
    sed -i -e "s|/usr/bin/|$out/bin/|" -e 's|/bin/sh |${runtimeShell} |' $out/lib/systemd/system/*.service
    install -D -m 644 systemd-units/disnix-tcp-proxy.sysusers $out/lib/sysusers.d/disnix-tcp-proxy.conf
    install -D -m 644 -t $out/lib/systemd/catalog systemd-units/disnix-tcp-proxy.catalog
  '';

  meta = {
    inherit (package) description;
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "disnix-tcp-proxy";
  };
}
