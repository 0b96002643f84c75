# fish completion for netns(8). Commands, options and values are those that the program's own --help tells, so this file
# knows none of them; the names of namespaces are those of `netns list`.

function __netns_commands
    netns --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\)  *\(.*\)/\1\t\2/p'
end

function __netns_options
    netns $argv --help 2>/dev/null | sed -n 's/^ \{2,6\}\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\)\( <[A-Z]*>\)\{0,1\}  *\(.*\)/\2\t\4/p'
end

function __netns_names
    netns list 2>/dev/null | string replace -r ' \(id: \d+\)$' ''
end

function __netns_networks
    cnitool list 2>/dev/null | sed -n '/^NETWORK /,/^$/s/ .*//p' | sed '/^NETWORK$/d'
end

# The words before the cursor, from the command on; the command is written out.
function __netns_words
    set -l words (commandline -opc)[2..]
    while set -q words[1]
        switch $words[1]
            case -n -netns --netns -b -batch --batch
                set -e words[1]
                set -e words[1]
            case '-*'
                set -e words[1]
            case '*'
                break
        end
    end
    set -q words[1]; or return
    for known in (__netns_commands | string replace -r '\t.*' '')
        if string match -q -- "$words[1]*" $known
            set words[1] $known
            break
        end
    end
    printf '%s\n' $words
end

function __netns_candidates
    set -l words (__netns_words)
    set -l prev (commandline -opc)[-1]
    set -l current (commandline -ct)
    if not set -q words[1]
        switch $prev
            case -n -netns --netns
                __netns_names
            case -b -batch --batch
                __fish_complete_path $current
            case '*'
                if string match -q -- '-*' $current
                    __netns_options
                else
                    __netns_commands
                end
        end
        return
    end
    switch $prev
        case --network
            __netns_networks
            return
        case --format
            netns $words[1] --help 2>/dev/null | sed -n 's/.*--format .*\[possible values: \(.*\)\]/\1/p' | string split ', '
            return
    end
    if string match -q -- '-*' $current
        if test $words[1] != exec -o (count $words) = 1
            __netns_options $words[1]
        end
        return
    end
    switch $words[1]:(count $words)
        case exec:1 delete:1 set:1 pids:1 'graph:*'
            __netns_names
        case set:2
            echo auto
        case attach:2 identify:1
            __fish_complete_pids
        case 'list-id:*'
            printf '%s\n' target-nsid nsid
        case exec:2 'run:*'
            __fish_complete_command
            __fish_complete_path $current
        case 'exec:*'
            __fish_complete_path $current
    end
end

complete -c netns -f -a '(__netns_candidates)'
