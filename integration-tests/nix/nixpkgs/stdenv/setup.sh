# The phases of a build, and the hooks around them.
set -eo pipefail
shopt -s nullglob

PATH=
for directory in $initialPath
do
    PATH=$PATH${PATH:+:}$directory
done
export PATH SHELL=$shell HOME=/homeless-shelter TZ=UTC SOURCE_DATE_EPOCH=1
umask 022

# runHook NAME: the functions that were added for it, then the package's own function or text.
runHook() {
    local name=$1 hooks hook
    hooks="${1}Hooks[@]"
    for hook in "${!hooks}"
    do
        "$hook"
    done
    if [ "$(type -t "$name")" = function ]
    then
        "$name"
    elif [ -n "${!name:-}" ]
    then
        eval "${!name}"
    fi
}

for input in ${nativeBuildInputs:-} ${buildInputs:-} ${checkInputs:-} ${nativeCheckInputs:-}
do
    if [ -d "$input/bin" ]
    then
        PATH=$input/bin:$PATH
    fi
    if [ -e "$input/nix-support/setup-hook" ]
    then
        source "$input/nix-support/setup-hook"
    fi
done

# substituteInPlace FILE... --replace-fail TEXT REPLACEMENT...: fails if a text is not in one of the files.
substituteInPlace() {
    local files=() file content
    while [[ $1 != --* ]]
    do
        files+=("$1")
        shift
    done
    if [ ${#files[@]} = 0 ]
    then
        echo "substituteInPlace: no file is named" >&2
        exit 1
    fi
    while [ $# -gt 0 ]
    do
        if [ "$1" != --replace-fail ]
        then
            echo "substituteInPlace: this stand-in has no $1" >&2
            exit 1
        fi
        for file in "${files[@]}"
        do
            content=$(cat "$file"; printf .)
            if [[ $content != *"$2"* ]]
            then
                echo "substituteInPlace: $file has no $2" >&2
                exit 1
            fi
            content=${content//"$2"/"$3"}
            printf %s "${content%.}" > "$file"
        done
        shift 3
    done
}

unpackPhase() {
    runHook preUnpack
    if [ -n "${src:-}" ]
    then
        if [ -d "$src" ]
        then
            sourceRoot=${sourceRoot:-source}
            cp -r --no-preserve=mode "$src" "$sourceRoot"
            # The mode, as far as Nix keeps it.
            (cd "$src" && find . -type f -perm /111 -print0) | (cd "$sourceRoot" && xargs -0r chmod +x)
        else
            tar -xf "$src"
            sourceRoot=${sourceRoot:-$(find . -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | head -n 1)}
        fi
        cd "$sourceRoot"
    fi
    runHook postUnpack
}

patchPhase() {
    runHook prePatch
    local file
    for file in ${patches:-}
    do
        patch -p1 < "$file"
    done
    runHook postPatch
}

configurePhase() {
    runHook preConfigure
    if [ -x configure ]
    then
        ./configure --prefix="$out" ${configureFlags:-}
    fi
    runHook postConfigure
}

hasMakefile() {
    [ -e Makefile ] || [ -e makefile ] || [ -e GNUmakefile ]
}

buildPhase() {
    runHook preBuild
    if hasMakefile
    then
        eval "make ${makeFlags:-} ${buildFlags:-}"
    fi
    runHook postBuild
}

checkPhase() {
    runHook preCheck
    if hasMakefile
    then
        eval "make ${makeFlags:-} ${checkTarget:-check}"
    fi
    runHook postCheck
}

installPhase() {
    runHook preInstall
    if hasMakefile
    then
        eval "make ${makeFlags:-} prefix=$out ${installTargets:-install}"
    fi
    runHook postInstall
}

# Man pages are compressed, and scripts begin with a shell of the store.
fixupPhase() {
    runHook preFixup
    local file
    if [ -d "$out/share/man" ]
    then
        find "$out/share/man" -type f ! -name '*.gz' -exec gzip -n9 {} +
    fi
    for file in "$out"/bin/* "$out"/libexec/*
    do
        if [ -f "$file" ] && [ ! -L "$file" ] && head -c 128 "$file" | head -n 1 | tr -d '\0' | grep -qE '^#! ?/bin/(ba)?sh'
        then
            sed -i "1s|/bin/\(ba\)\?sh|$SHELL|" "$file"
        fi
    done
    runHook postFixup
}

installCheckPhase() {
    runHook preInstallCheck
    runHook postInstallCheck
}

# runPhase NAME: what the package gives under that name, or what is here.
runPhase() {
    local skip=dont${1^}
    skip=${skip%Phase}
    if [ -n "${!skip:-}" ]
    then
        return
    fi
    if [ -n "${!1:-}" ]
    then
        eval "${!1}"
    else
        "$1"
    fi
}

genericBuild() {
    if [ -n "${buildCommandPath:-}" ]
    then
        source "$buildCommandPath"
        return
    fi
    local phase
    for phase in ${phases:-unpackPhase patchPhase configurePhase buildPhase ${doCheck:+checkPhase} \
        installPhase fixupPhase ${doInstallCheck:+installCheckPhase}}
    do
        runPhase "$phase"
    done
}
