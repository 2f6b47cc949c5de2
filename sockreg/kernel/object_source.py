"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "c86b81b1df3430e240f8727d6949f1c5d74a936b5017c53fca2f8ae077d48695",
    "trace.bpf.o": "7abfc47af633c8a74e7c4431452a61aa68c6ff65138969c312723f3856f50905",
    "sockops.bpf.o": "e580ae53a56e4e0b4654bb4099a72dae4383029ac8e572a34c98429e4186adfc",
}
SOURCES = {
    "sockreg.bpf.o": "93f8034ad7cb7b314b478ffe07c0ad0a4e5bd2e296b92e3b6c77cca36183c182",
    "trace.bpf.o": "bc1575ff7fa6dbd6f70f4fe03b9363bd237e20c10d1555097154d1634f587c0a",
    "sockops.bpf.o": "056c60e7868b20e811cdf0d683163f5dc63cd2832811060df2920b686485e48d",
}
