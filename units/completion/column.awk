        # Labels may contain spaces, so columns are told apart by their positions. A second socket
        # of a label has empty first columns.
        /^LABEL  / { from = index($0, head); next }
        from && NF == 0 { exit }
        from {
            cell = substr($0, from)
            sub(/  .*/, "", cell)
            if (cell != "" && cell != "-" && !seen[cell]++) print cell
        }
