"""The SHA-256 of the sources of bpf/sockreg.bpf.o; written by bpf/build.sh."""

SOURCE = "ed04b3619f89c8443af914cc22f956a16e66572b924d8b19c88299cc5ba2cb4d"
