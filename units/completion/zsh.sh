
# Offer the lines that a function prints: the last argument, after what _arguments has for compadd.
_sockreg_offer() {
    local -a _sockreg_globals words_of_line names
    local word before=''
    words_of_line=(${(z)BUFFER})
    for word in ${words_of_line[1,-2]}; do
        case $word in
            --netns=* | --bpffs=*) _sockreg_globals+=(${(Q)word}) ;;
        esac
        case $before in
            --netns | --bpffs) _sockreg_globals+=($before=${(Q)word}) ;;
        esac
        before=$word
    done
    names=("${(f)$("${@[-1]}")}")
    compadd "${@[1,-2]}" -a names
}

_sockreg_packet_conditions() { _sockreg_after "${words[CURRENT - 1]}"; }

_sockreg_rule_conditions() { _sockreg_after_in_rule "${words[CURRENT - 1]}"; }
