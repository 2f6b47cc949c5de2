# Names that there are, one a line, for bash and zsh. The array _sockreg_globals has the --netns=
# and --bpffs= options of the line being typed: labels are those of that registry.

# A column of the table that 'sockreg status' prints, by its head.
_sockreg_column() {
    sockreg "${_sockreg_globals[@]}" status --lines 0 2>/dev/null | awk -v "head=$1" '
@COLUMN@'
}

_sockreg_labels() { _sockreg_column LABEL; }

_sockreg_registered_units() { _sockreg_column UNIT; }

_sockreg_socket_units() {
    {
        systemctl list-unit-files --no-legend --no-pager --plain '*.socket'
        systemctl list-units --all --no-legend --no-pager --plain '*.socket'
    } 2>/dev/null | awk '!seen[$1]++ { print $1 }'
}

_sockreg_running_services() {
    systemctl list-units --type=service --state=running --no-legend --no-pager --plain \
        2>/dev/null | awk '{ print $1 }'
}

_sockreg_netns() { ls /run/netns 2>/dev/null; }

_sockreg_pids() { ls /proc | awk '/^[0-9]+$/'; }

_sockreg_protocols() { printf '%s\n' tcp udp; }

# What may follow the word $1: the value of a condition, or another condition.
_sockreg_after() {
    case $1 in
        dev) ls /sys/class/net ;;
        from) ;;
        *) printf '%s\n' from dev ;;
    esac
}

_sockreg_after_in_rule() {
    _sockreg_after "$1"
    [ "$1" = from ] || [ "$1" = dev ] || echo missing=pass
}
