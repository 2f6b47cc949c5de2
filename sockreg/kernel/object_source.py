"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "41bf696516d9cf1fe6a9847c4ce2e919c1ef4ab8f648f130505ac42c734d8e37",
    "sockops.bpf.o": "90183e037a25fd98fa12646f7c37cca73a93ea24a5c0f84865c062dfcda8dfe0",
}
SOURCES = {
    "sockreg.bpf.o": "c673355ba6c8de1b17ac2cf07f8a2219680c16d1ee780bd876ba2b73d9f6621d",
    "sockops.bpf.o": "399a774b11679eed6f1e80feff8d76cd3563141be304c4852d1bc8c115e30c0c",
}
