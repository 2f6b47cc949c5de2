"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "dfa42d18b105073040fccf9e6928fd6c8e48e166993c88ba12dacf0468c10a32"
SOURCE = "2689697861d313367c1981ecdff8007c95337f352ae4878547ceca2a9d09c3df"
