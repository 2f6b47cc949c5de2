# What go-md2man writes, as mandoc(1) and groff(1) like it: no paragraph where a section begins one,
# and no long lines. A line ends at a space only where that changes nothing: not in an example, not
# in the term of a definition, and not before a word that would be a macro.
function folded(line,    at) {
    while (length(line) > 80) {
        for (at = 80; at > 1; at--)
            if (substr(line, at, 1) == " " && substr(line, at - 1, 1) !~ /[ .!?:]/ &&
                substr(line, at + 1, 1) !~ /[ .']/)
                break
        if (at <= 1)
            break
        print substr(line, 1, at - 1)
        line = substr(line, at + 1)
    }
    print line
}
/^\.(SH|SS) / { begins = 1; print; next }
begins && (/^$/ || /^\.PP$/) { next }
{ begins = 0 }
/^\.(EX|nf)$/ { literal = 1 }
/^\.(EE|fi)$/ { literal = 0 }
literal || /^[.']/ { print; term = /^\.TP/; next }
term { print; term = 0; next }
/^$/ { print; next }
{ folded($0) }
