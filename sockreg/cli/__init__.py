from sockreg.later import load_when_used

# What modules import that every command or every change needs, and what these do not use.
load_when_used(
    "bz2",
    "inspect",
    "ipaddress",
    "lzma",
    "subprocess",
)
