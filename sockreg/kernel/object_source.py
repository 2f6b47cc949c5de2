"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "8cad26172b1b4a4ce9ffd391a1892c0b4a0b3a2a6f1e5eb1ea06a13b9d55b874",
    "sockops.bpf.o": "6ca9ff05c99ebdc0cbbfbcf01d6a46c55158f1074c43fd0ead2e0ac3eeb464de",
}
SOURCES = {
    "sockreg.bpf.o": "90d18e6b675319bb79f9b317684227003bfe66fa627899831d8270245e7147a4",
    "sockops.bpf.o": "b8dd206818abae2dd4c8b46fd92d3092a904ca833c33bb82c7d72c10fe0c98cd",
}
