# bash completion for netns(8). Commands, options and values are those that the program's own --help tells, so this file
# knows none of them; the names of namespaces are those of `netns list`.

# The candidates on standard input that go on from the word under the cursor.
_netns_offer() {
    local one
    while IFS= read -r one; do
        [[ $one != "$cur"* ]] || COMPREPLY+=("$(printf %q "$one")")
    done
}

_netns_commands() {
    "$program" --help 2> /dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'
}

_netns_options() {
    "$program" "$@" --help 2> /dev/null | sed -n 's/^ \{2,6\}\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p'
}

# What an option of a command may be.
_netns_values() {
    "$program" "$1" --help 2> /dev/null | sed -n "s/^ *$2 .*\[possible values: \(.*\)\]/\1/p" | sed 's/, /\n/g'
}

_netns_names() {
    "$program" list 2> /dev/null | sed 's/ (id: [0-9]*)$//'
}

_netns_networks() {
    cnitool list 2> /dev/null | sed -n '/^NETWORK /,/^$/s/ .*//p' | sed '/^NETWORK$/d'
}

_netns_processes() {
    local path
    for path in /proc/[0-9]*; do echo "${path#/proc/}"; done
}

# The command that a word stands for: the first that begins so.
_netns_meant() {
    local one
    while IFS= read -r one; do
        [[ $one == "$1"* ]] && echo "$one" && return
    done < <(_netns_commands)
}

_netns() {
    local program=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' at=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -n | -netns | --netns | -b | -batch | --batch) ((++i)) ;;
            -*) ;;
            *) command=$(_netns_meant "${COMP_WORDS[i]}") at=$i && break ;;
        esac
    done
    local nth=$((COMP_CWORD - at))
    if ((at == 0)); then
        case $prev in
            -n | -netns | --netns) _netns_offer < <(_netns_names) ;;
            -b | -batch | --batch) compopt -o default ;;
            *) if [[ $cur == -* ]]; then _netns_offer < <(_netns_options); else _netns_offer < <(_netns_commands); fi ;;
        esac
        return
    fi
    case $prev in
        --network) _netns_offer < <(_netns_networks) && return ;;
        --format) _netns_offer < <(_netns_values "$command" --format) && return ;;
    esac
    if [[ $cur == -* && $command != exec || $cur == -* && $nth == 1 ]]; then
        _netns_offer < <(_netns_options "$command")
        return
    fi
    case $command:$nth in
        exec:1 | delete:1 | set:1 | pids:1 | graph:*) _netns_offer < <(_netns_names) ;;
        set:2) _netns_offer < <(echo auto) ;;
        attach:2 | identify:1) _netns_offer < <(_netns_processes) ;;
        list-id:*) _netns_offer < <(printf '%s\n' target-nsid nsid) ;;
        exec:2 | run:*)
            COMPREPLY=($(compgen -c -- "$cur"))
            compopt -o default
            ;;
        exec:*) compopt -o default ;;
    esac
}

complete -F _netns netns
