"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "318cd848691fcd883a20b1b6c4238b477e0a6d1a16fce664b9b024a64b0388c4",
    "trace.bpf.o": "79aee839be4df243de37e68881c662e5f768990de320f757e333032f024e7b0a",
    "sockops.bpf.o": "90183e037a25fd98fa12646f7c37cca73a93ea24a5c0f84865c062dfcda8dfe0",
}
SOURCES = {
    "sockreg.bpf.o": "d57991d4a310024db8a74444894e53ca4fe7b42593b5384baad15f7fac9394ee",
    "trace.bpf.o": "d1407bba771b431e2e686b58e9568d4064fc05314c40765c62aff538e01b6f96",
    "sockops.bpf.o": "399a774b11679eed6f1e80feff8d76cd3563141be304c4852d1bc8c115e30c0c",
}
