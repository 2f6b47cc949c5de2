"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "707b113698863dde9bf96ceb19f4b98d0d6b5b6e853fafa53f5f51dde3776789"
SOURCE = "dec46137ff57f76d9f7d154f678f1d384fe760cfff4937c3c40a2ff91942664a"
