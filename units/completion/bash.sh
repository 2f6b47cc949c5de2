
_sockreg_packet_conditions() { _sockreg_after "${COMP_WORDS[COMP_CWORD - 1]}"; }

_sockreg_rule_conditions() { _sockreg_after_in_rule "${COMP_WORDS[COMP_CWORD - 1]}"; }

# What is above takes the words of a line apart as readline does, at '=', ':' and '@' as well, and
# offers names as they are. This takes the line as it was typed, and quotes what is offered.
_sockreg() {
    local line=${COMP_LINE:0:COMP_POINT} current kept word
    local -a typed=() _sockreg_globals=()
    local -i index
    read -ra typed <<<"$line"
    [[ $line == *[[:space:]] ]] && typed+=('')
    current=${typed[-1]}
    # Of a word that has characters of COMP_WORDBREAKS readline replaces what stands behind the
    # last one, and '@' as well (rl_special_prefixes).
    kept=${current%"${current##*["$COMP_WORDBREAKS"]}"}
    kept=${kept%@}

    local -a COMP_WORDS=()
    for ((index = 0; index < ${#typed[@]}; index++)); do
        word=${typed[index]}
        case $word in
            --)
                if ((index < ${#typed[@]} - 1)); then
                    # A command of its own; readline knows it by its own place in the line.
                    if ((index == ${#typed[@]} - 2)); then
                        mapfile -t COMPREPLY < <(compgen -c -- "$2")
                    else
                        compopt -o default 2>/dev/null
                    fi
                    return
                fi
                COMP_WORDS+=("$word")
                ;;
            --netns=* | --bpffs=*)
                _sockreg_globals+=("$word")
                COMP_WORDS+=("${word%%=*}" "${word#*=}")
                ;;
            --*=*) COMP_WORDS+=("${word%%=*}" "${word#*=}") ;;
            *)
                case ${typed[index - (index > 0)]} in
                    --netns | --bpffs) _sockreg_globals+=("${typed[index - 1]}=$word") ;;
                esac
                COMP_WORDS+=("$word")
                ;;
        esac
    done
    local -i COMP_CWORD=${#COMP_WORDS[@]}-1
    local prefix=${current%"${COMP_WORDS[COMP_CWORD]}"}
    _shtab_sockreg "$@"

    # readline quotes the names of files by itself.
    [[ $(compopt 2>/dev/null) == *'-o filenames'* ]] && return
    # Other names come from others: they are quoted, and compared without compgen -W, which would
    # expand what it finds in them (bash(1), "Programmable Completion").
    local -a offered=("${COMPREPLY[@]}")
    COMPREPLY=()
    for word in "${offered[@]}"; do
        printf -v word '%s%q' "$prefix" "$word"
        [[ $word == "$current"* ]] && COMPREPLY+=("${word#"$kept"}")
    done
}

complete -F _sockreg sockreg
