# installManPage and installShellCompletion for postInstall.

installManPage() {
    local page section
    for page
    do
        section=${page%.gz}
        section=${section##*.}
        install -D -m 644 "$page" "$out/share/man/man$section/$(basename "$page")"
    done
}

# installShellCompletion --cmd NAME --bash FILE --zsh FILE --fish FILE
installShellCompletion() {
    local command= file shell
    while [ $# -gt 0 ]
    do
        case "$1" in
            --cmd)
                command=$2
                ;;
            --bash | --zsh | --fish)
                shell=${1#--}
                file=$2
                if [ -z "$command" ]
                then
                    echo "installShellCompletion: --cmd must come before $1" >&2
                    return 1
                fi
                case "$shell" in
                    bash) install -D -m 644 "$file" "$out/share/bash-completion/completions/$command.bash" ;;
                    zsh) install -D -m 644 "$file" "$out/share/zsh/site-functions/_$command" ;;
                    fish) install -D -m 644 "$file" "$out/share/fish/vendor_completions.d/$command.fish" ;;
                esac
                ;;
            *)
                echo "installShellCompletion: unknown here: $1" >&2
                return 1
                ;;
        esac
        shift 2
    done
}
