"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "013a2da58e291e57db960c09059f510501c2fa8da866361123489885cb90d16d",
    "sockops.bpf.o": "68ccdc770fa0660413a57e9849fd7c06a8599730276179a7a3f8ab3ad4b17b68",
}
SOURCES = {
    "sockreg.bpf.o": "c3668b80f8d80025c8c23845642b14c5b9020de44be99757c1ce58f5ed6ed1ed",
    "sockops.bpf.o": "f6ab2d3f0962d8c957417cc58d1cc1c7a86ed30f0c3807e9a99e3f7baa1bee5d",
}
