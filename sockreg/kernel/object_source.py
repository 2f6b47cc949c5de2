"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "a13c23bc1bd9991ff8d4f79bc2b1601b18250c14521a0aac23e218aa2acbd919",
    "sockops.bpf.o": "5257f3279890904cd2071c7a14d097ab8e1fccee4df23acfcceab8560466a2e4",
}
SOURCES = {
    "sockreg.bpf.o": "24df05c8d7e706185d5d11bc712d254a348d14528bbbfb534ba5c424a6ee5c07",
    "sockops.bpf.o": "373a84ef55858743b6ce7ee32a7fc844f139a6178e261487dfb36623586126a4",
}
