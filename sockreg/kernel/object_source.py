"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "8debbfe339f7567476d5281bd1bdbadf717794ffbcc21ac36e36748704d30f03",
    "trace.bpf.o": "db36828f7fac24213318b7ad8f55d349e83f0ff1929d1d626b5dfbcdfd9235d2",
    "sockops.bpf.o": "7a2bf65ccc8cc285b8f563d5e0f8b143eb0a829570f7bd662a98c06b4fdb835d",
}
SOURCES = {
    "sockreg.bpf.o": "84b70042b179242b6cc3094d74427b3396864bb0f8f2ea68ad9d4d203041fe96",
    "trace.bpf.o": "40e97508e7c5ed462fad49208188ce775d1aefdf8e13957673948412b81c57da",
    "sockops.bpf.o": "888c2ed689f0fe7d17a22efa22434d14dcab9723afab19a466d2cd9d78ad255d",
}
