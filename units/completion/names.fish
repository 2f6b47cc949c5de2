# Names that there are, one a line, for fish: see names.sh.

# The --netns and --bpffs options of the line being typed.
function _sockreg_globals
    set -l tokens (commandline -opc)
    for index in (seq (count $tokens))
        switch $tokens[$index]
            case '--netns=*' '--bpffs=*'
                echo $tokens[$index]
            case --netns --bpffs
                set -q tokens[(math $index + 1)]
                and echo $tokens[$index]=$tokens[(math $index + 1)]
        end
    end
end

function _sockreg_column
    sockreg (_sockreg_globals) status --lines 0 2>/dev/null | awk -v head=$argv[1] '
@COLUMN@'
end

function _sockreg_labels
    _sockreg_column LABEL
end

function _sockreg_registered_units
    _sockreg_column UNIT
end

function _sockreg_socket_units
    begin
        systemctl list-unit-files --no-legend --no-pager --plain '*.socket'
        systemctl list-units --all --no-legend --no-pager --plain '*.socket'
    end 2>/dev/null | awk '!seen[$1]++ { print $1 }'
end

function _sockreg_running_services
    systemctl list-units --type=service --state=running --no-legend --no-pager --plain \
        2>/dev/null | awk '{ print $1 }'
end

function _sockreg_netns
    ls /run/netns 2>/dev/null
end

function _sockreg_pids
    ls /proc | awk '/^[0-9]+$/'
end

function _sockreg_protocols
    printf '%s\n' tcp udp
end

function _sockreg_packet_conditions
    set -l tokens (commandline -opc)
    switch $tokens[-1]
        case dev
            ls /sys/class/net
        case from
        case '*'
            printf '%s\n' from dev
    end
end

function _sockreg_rule_conditions
    set -l tokens (commandline -opc)
    _sockreg_packet_conditions
    contains -- $tokens[-1] from dev
    or echo missing=pass
end
