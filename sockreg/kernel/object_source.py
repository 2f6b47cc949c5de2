"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "efea34cfae15e1cc294019884fde612c61d67d700f1990ea9631a47612089693"
SOURCE = "bb6763e3afd09adcdc2b9cd3f813afed38f000f7801cd6a18f9c7699478c09d4"
