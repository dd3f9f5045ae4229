# Fills $out with links to the machine's $programs and $directories.
PATH=/usr/bin:/bin
mkdir -p "$out/bin"
for program in $programs
do
    found=/usr/bin/$program
    for directory in /usr/bin /usr/sbin /bin /sbin
    do
        if [ -e "$directory/$program" ]
        then
            found=$directory/$program
            break
        fi
    done
    ln -s "$found" "$out/bin/$program"
done
for pair in $directories
do
    mkdir -p "$out/$(dirname "${pair%%=*}")"
    ln -s "${pair#*=}" "$out/${pair%%=*}"
done
# Nix ends a builder whose output is closed, and some programs close theirs before they end.
exit 0
