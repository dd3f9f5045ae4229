# Compiles below $cargoTarget/nix, which begins as a copy of what cargo has compiled in $cargoTarget.
# cargo takes a package in another directory for another package, and a file for changed when it is
# newer than what was made of it; so the source has a directory of its own that stays, in which only
# what differs is written.

cargoBuild() {
    if [ -z "$cargoTarget" ]
    then
        echo "buildRustPackage: the environment does not say where cargo is (a pure evaluation?)" >&2
        return 1
    fi
    cmp "$lockFile" Cargo.lock

    local directory=$cargoTarget/nix
    mkdir -p "$directory"
    exec {lock}> "$directory/lock"
    flock "$lock"
    if [ ! -d "$directory/release" ] && [ -d "$cargoTarget/release" ]
    then
        mkdir "$directory/release.copy"
        cp -a --reflink=auto "$cargoTarget"/release/{build,deps,.fingerprint} "$directory/release.copy"
        mv "$directory/release.copy" "$directory/release"
    fi
    copyWhatDiffers "$directory/source"
    (
        cd "$directory/source"
        export CARGO_HOME=$cargoHome RUSTUP_HOME=$rustupHome CARGO_TARGET_DIR=$directory CARGO_TERM_COLOR=never
        export PATH=$PATH:$cargoPath:/usr/bin:/bin
        [ -z "$cargoLto" ] || export CARGO_PROFILE_RELEASE_LTO=$cargoLto
        [ -z "$cargoCodegenUnits" ] || export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=$cargoCodegenUnits
        cargo build --release --frozen $cargoBuildFlags
    )
    mkdir -p target/of-this-machine/release
    cp -r "$directory"/release/examples target/of-this-machine/release/
    find "$directory/release" -maxdepth 1 -type f -perm /111 -exec cp -t target/of-this-machine/release {} +
    exec {lock}>&-
}

copyWhatDiffers() {
    local to=$1 file
    mkdir -p "$to"
    find . -type f -printf '%P\0' | while IFS= read -r -d '' file
    do
        if ! cmp -s "$file" "$to/$file"
        then
            mkdir -p "$to/$(dirname "$file")"
            cp "$file" "$to/$file"
            touch "$to/$file"
        fi
    done
    (cd "$to" && find . -type f -printf '%P\0') | while IFS= read -r -d '' file
    do
        [ -e "$file" ] || rm "$to/$file"
    done
}

cargoInstall() {
    mkdir -p "$out/bin"
    find target/of-this-machine/release -maxdepth 1 -type f -exec install -m 755 -t "$out/bin" {} +
}
