"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "9bb0d43934df7d185a5aa923f10effd3264ca132e3fbef6f6bf307bc24ac1222",
    "sockops.bpf.o": "f3159c8ece83738e7c4e59360784a1e20ca1685b904e63dbcd3aaff966b0005f",
}
SOURCES = {
    "sockreg.bpf.o": "9d7e856666ff24808c5b9783c551c2d0f4cf52c51510703a5b9a697ea1086ce4",
    "sockops.bpf.o": "4850a346ff246d53ec048acd1d565cfffb8f238c3295749dcd84e313c06ab832",
}
