{ lib, stdenv, rustPlatform, rustc, installShellFiles, runtimeShell, coreutils, python3 }:

let
  inherit (lib.importTOML ../Cargo.toml) package;

  # Only what the package needs, so that a change elsewhere does not rebuild it.
  root = toString ../.;
  wanted = [ "Cargo.lock" "Cargo.toml" "LICENSE" "README.md" "benches" "doc" "examples" "src" "systemd-units" "tests" ];

  # False when it is compiled for another platform
  canRun = stdenv.buildPlatform.canExecute stdenv.hostPlatform;
in
assert lib.assertMsg (lib.versionAtLeast rustc.version package.rust-version)
  "${package.name} needs Rust ${package.rust-version}, and this nixpkgs has ${rustc.version}; take a newer nixpkgs";

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

  # With the features that the tests use, so that nothing is compiled twice
  cargoBuildFlags = [ "--bins" "--examples" ];

  doCheck = true;

  # For the services in examples/handover
  nativeCheckInputs = [ python3 ];

  # As `cargo run --example completions`, without compiling again
  postBuild = lib.optionalString canRun ''
    target/*/release/examples/completions completions
  '';

  postInstall = ''
    installManPage doc/man/*.[1-8]

    ${lib.optionalString canRun ''
      for fish in completions/*.fish
      do
          program=$(basename $fish .fish)
          installShellCompletion --cmd $program --bash completions/$program.bash --zsh completions/_$program --fish $fish
      done
    ''}

    install -D -m 644 -t $out/lib/systemd/system systemd-units/*.service systemd-units/*.socket
    substituteInPlace $(grep -l ^ExecPaths= $out/lib/systemd/system/*.service) \
      --replace-fail ExecPaths=/usr 'ExecPaths=${builtins.storeDir} -/usr'
    substituteInPlace $out/lib/systemd/system/*-pause*.service --replace-fail /bin/sleep ${coreutils}/bin/sleep
    services=$(ls $out/lib/systemd/system/*.service | grep -v pause)
    substituteInPlace $services --replace-fail /usr/bin/ $out/bin/
    substituteInPlace $(echo "$services" | grep disnix-tcp-proxy | grep -v -e metrics -e inetd) --replace-fail '/bin/sh ' '${runtimeShell} '
    install -D -m 644 systemd-units/disnix-tcp-proxy.sysusers $out/lib/sysusers.d/disnix-tcp-proxy.conf
    install -D -m 644 -t $out/lib/systemd/catalog systemd-units/disnix-tcp-proxy.catalog

    install -D -m 755 -t $out/libexec/disnix-proxy-example target/*/release/examples/atomic-upgrade

    documents=$out/share/doc/disnix-proxy-example
    mkdir -p $documents
    cp -r LICENSE README.md doc $documents
    rm -r $documents/doc/man
  '';

  meta = {
    inherit (package) description;
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "disnix-tcp-proxy";
  };
}
