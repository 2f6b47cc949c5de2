"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "66e7ff289518da0ca937200431a62bab8630aca079c6d1fd23ce1ac0039b2a1b",
    "sockops.bpf.o": "8a8993053d4a9d2eee4d255cb69a4933543557fb7f191394224a3ecc2f1914ea",
}
SOURCES = {
    "sockreg.bpf.o": "d45b98fec13d0494bfae34b63c0dd032a96ff1d79a974568f229a3cba5d1112f",
    "sockops.bpf.o": "3c157c52bba08138f0849ed2d4e3c781b94b6c1210b90ac580b9941ab2a109a9",
}
