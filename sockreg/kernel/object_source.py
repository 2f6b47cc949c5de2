"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "fece3f98bcab9a09f61c552287ae5c35605535a44efc189cb52c3ea99bb23044",
    "trace.bpf.o": "9fcb79b35003a47add4bec92784c0377b8507b24e818a225ae004db219eeae24",
    "sockops.bpf.o": "7a2bf65ccc8cc285b8f563d5e0f8b143eb0a829570f7bd662a98c06b4fdb835d",
}
SOURCES = {
    "sockreg.bpf.o": "30c8e4a508b6eb31e1ecf9ab71fdd03b7dc0d96d8f5861eccecfffbeb2b8c764",
    "trace.bpf.o": "f6484b9d30c24dc017d2c1391468ab3dd5e7205b2b9af7e43d92fc8c56cf46b3",
    "sockops.bpf.o": "888c2ed689f0fe7d17a22efa22434d14dcab9723afab19a466d2cd9d78ad255d",
}
