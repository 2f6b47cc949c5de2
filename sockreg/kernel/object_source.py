"""The SHA-256 of the sources of bpf/sockreg.bpf.o; written by bpf/build.sh."""

SOURCE = "bb6763e3afd09adcdc2b9cd3f813afed38f000f7801cd6a18f9c7699478c09d4"
