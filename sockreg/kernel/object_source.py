"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "75df1be4a56eac2a36c40f9ff41c51ed22baeadee611290981b197946ad5e03c",
    "sockops.bpf.o": "c007fa6cd22b8f415e1d7bd3c59cec8ce4ca4b76512abb470d82e2e10f16d81f",
}
SOURCES = {
    "sockreg.bpf.o": "936eb96d5a32f0b94c52d4a16058bb06f4757f3477a159b3c5e9b34290c03657",
    "sockops.bpf.o": "02249cce5daa031643ff849ae3efbf67926108a4a94ca1ee289616aab3fa8719",
}
