# fish completion for cnitool(8). Commands, options and values are those that the program's own --help tells, so this file
# knows none of them; networks are those of `cnitool list`, namespaces the files in /run/netns.

function __cnitool_commands
    cnitool --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\)  *\(.*\)/\1\t\2/p'
end

function __cnitool_options
    cnitool $argv -h 2>/dev/null | sed -n 's/^ \{2,6\}\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\)\( <[A-Z]*>\)\{0,1\}  *\(.*\)/\2\t\4/p'
end

function __cnitool_arguments
    cnitool $argv[1] -h 2>/dev/null | sed -n '/^Arguments:/,/^$/s/^  [<[]\([A-Z]*\)[]>].*/\1/p'
end

function __cnitool_values
    cnitool $argv[1] -h 2>/dev/null | grep -- $argv[2] | sed -n 's/.*\[possible values: \(.*\)\]/\1/p' | string split ', '
end

function __cnitool_networks
    cnitool list 2>/dev/null | sed -n '/^NETWORK /,/^$/s/ .*//p' | sed '/^NETWORK$/d'
end

function __cnitool_candidates
    set -l typed (commandline -opc)[2..]
    set -l words
    set -l skip
    for word in $typed
        if set -q skip[1]
            set -e skip[1]
            continue
        end
        switch $word
            case -i --ifname --conf --record --verb
                set skip yes
            case '-*'
            case '*'
                set -a words $word
        end
    end
    set -l prev (commandline -opc)[-1]
    set -l current (commandline -ct)
    switch $prev
        case -i --ifname
            return
        case --conf --record
            __fish_complete_path $current
            return
        case --verb
            __cnitool_values $words[1] --verb
            return
    end
    if string match -q -- '-*' $current
        __cnitool_options $words[1]
        return
    end
    if not set -q words[1]
        __cnitool_commands
        return
    end
    set -l arguments (__cnitool_arguments $words[1])
    set -l nth (count $words)
    set -q arguments[$nth]; or set nth (count $arguments)
    test $nth -gt 0; or return
    switch $arguments[$nth]
        case NETWORK
            __cnitool_networks
        case VERB
            __cnitool_values $words[1] '<VERB>'
        case NETNS
            for path in /run/netns/*
                echo $path
            end
            __fish_complete_path $current
        case FILE DIR
            __fish_complete_path $current
        case COMMAND
            __cnitool_commands
    end
end

complete -c cnitool -f -a '(__cnitool_candidates)'
