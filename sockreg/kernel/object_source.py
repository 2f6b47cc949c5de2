"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "cded022562dfe76dafb14470a72213f5173c0b0b8f5d9349df9ec0f8e936fbb6",
    "sockops.bpf.o": "018d0d7834c7e0014cccc957b16887a93a14622fb88669a00e2a747837341a40",
}
SOURCES = {
    "sockreg.bpf.o": "9961f19a24f9562a8af4afebdec1cdd380f3bd6c2953e0569d7fd9997198ccd5",
    "sockops.bpf.o": "76ea35da0122131e8150fcd5d88f03858889d688c1e88581831e9af183abf841",
}
