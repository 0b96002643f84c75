# bash completion for cnitool(8). Commands, options and values are those that the program's own --help tells, so this file
# knows none of them; networks are those of `cnitool list`, namespaces the files in /run/netns.

# The candidates on standard input that go on from the word under the cursor.
_cnitool_offer() {
    local one
    while IFS= read -r one; do
        [[ $one != "$cur"* ]] || COMPREPLY+=("$(printf %q "$one")")
    done
}

_cnitool_commands() {
    "$program" --help 2> /dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'
}

_cnitool_options() {
    "$program" "$@" -h 2> /dev/null | sed -n 's/^ \{2,6\}\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p'
}

# The words that a command takes, in their order: NETWORK NETNS …
_cnitool_arguments() {
    "$program" "$1" -h 2> /dev/null | sed -n '/^Arguments:/,/^$/s/^  [<[]\([A-Z]*\)[]>].*/\1/p'
}

# What an argument or an option of a command may be.
_cnitool_values() {
    "$program" "$1" -h 2> /dev/null | grep -- "$2" | sed -n 's/.*\[possible values: \(.*\)\]/\1/p' | sed 's/, /\n/g'
}

_cnitool_networks() {
    "$program" list 2> /dev/null | sed -n '/^NETWORK /,/^$/s/ .*//p' | sed '/^NETWORK$/d'
}

_cnitool_namespaces() {
    local path
    for path in /run/netns/*; do [[ ! -e $path ]] || echo "$path"; done
}

_cnitool() {
    local program=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' nth=0 i arguments
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -i | --ifname | --conf | --record | --verb) ((++i)) ;;
            -*) ;;
            *) if [[ -z $command ]]; then command=${COMP_WORDS[i]}; else ((++nth)); fi ;;
        esac
    done
    case $prev in
        -i | --ifname) return ;;
        --conf | --record) compopt -o default && return ;;
        --verb) _cnitool_offer < <(_cnitool_values "$command" --verb) && return ;;
    esac
    if [[ $cur == -* ]]; then
        _cnitool_offer < <(_cnitool_options $command)
        return
    fi
    if [[ -z $command ]]; then
        _cnitool_offer < <(_cnitool_commands)
        return
    fi
    mapfile -t arguments < <(_cnitool_arguments "$command")
    ((${#arguments[@]})) || return
    # Of what comes last there may be several.
    case ${arguments[nth]-${arguments[-1]}} in
        NETWORK) _cnitool_offer < <(_cnitool_networks) ;;
        VERB) _cnitool_offer < <(_cnitool_values "$command" '<VERB>') ;;
        NETNS)
            _cnitool_offer < <(_cnitool_namespaces)
            compopt -o default
            ;;
        FILE | DIR) compopt -o default ;;
        COMMAND) _cnitool_offer < <(_cnitool_commands) ;;
    esac
}

complete -F _cnitool cnitool
