# buildRustPackage. The package's own code is compiled from `src`; dependencies come from the machine's cargo, already
# compiled if possible, and build results stay for the next build. The tests of the package are not run here, but
# outside of Nix.
{ lib, stdenv, util-linux, cargo }:

{ cargoLock ? throw "buildRustPackage: this package set knows no other way than cargoLock"
, cargoBuildFlags ? [ ]
, buildFeatures ? [ ]
, nativeBuildInputs ? [ ]
, ...
}@attributes:

let
  lock = builtins.fromTOML (builtins.readFile cargoLock.lockFile);

  # Real nixpkgs downloads these: by checksum, or from git by a hash in outputHashes.
  fetchable =
    package:
    !(package ? source)
    || package ? checksum
    || cargoLock ? outputHashes.${"${package.name}-${package.version}"};
  unfetchable = lib.filter (package: !fetchable package) lock.package;
in
assert lib.assertMsg (unfetchable == [ ])
  "${toString cargoLock.lockFile} has no checksum for ${lib.concatMapStringsSep ", " (package: package.name) unfetchable}";

stdenv.mkDerivation (
  {
    checkPhase = ''
      echo "The package set of the tests does not run the tests of a Rust package."
    '';
  }
  // removeAttrs attributes [ "cargoLock" "buildFeatures" ]
  // {
    nativeBuildInputs = nativeBuildInputs ++ [ cargo util-linux ];
    cargoBuildFlags = cargoBuildFlags ++ lib.optional (buildFeatures != [ ]) "--features=${lib.concatStringsSep "," buildFeatures}";
    lockFile = cargoLock.lockFile;
    cargoPath = builtins.getEnv "DISNIX_PROXY_EXAMPLE_RUST";
    cargoHome = builtins.getEnv "DISNIX_PROXY_EXAMPLE_CARGO_HOME";
    rustupHome = builtins.getEnv "DISNIX_PROXY_EXAMPLE_RUSTUP_HOME";
    cargoTarget = builtins.getEnv "DISNIX_PROXY_EXAMPLE_CARGO_TARGET";
    # Those of what has been compiled there
    cargoLto = builtins.getEnv "CARGO_PROFILE_RELEASE_LTO";
    cargoCodegenUnits = builtins.getEnv "CARGO_PROFILE_RELEASE_CODEGEN_UNITS";
    buildPhase = ''
      source ${./build.sh}
      runHook preBuild
      cargoBuild
      runHook postBuild
    '';
    installPhase = ''
      runHook preInstall
      cargoInstall
      runHook postInstall
    '';
  }
)
