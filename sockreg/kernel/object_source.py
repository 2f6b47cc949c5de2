"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "a47de891a6a364fdac08f770f67241a64d5ab6546a972b6855e74bcc696a1d2b",
    "sockops.bpf.o": "f3159c8ece83738e7c4e59360784a1e20ca1685b904e63dbcd3aaff966b0005f",
}
SOURCES = {
    "sockreg.bpf.o": "79355c312e43fbb4db8dbafdbdbb6c9a0122969d70ce8ec2c8a7e5b872fe216d",
    "sockops.bpf.o": "4850a346ff246d53ec048acd1d565cfffb8f238c3295749dcd84e313c06ab832",
}
