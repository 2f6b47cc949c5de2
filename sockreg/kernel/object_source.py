"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "75df1be4a56eac2a36c40f9ff41c51ed22baeadee611290981b197946ad5e03c",
    "sockops.bpf.o": "b8ffe900f5545e687271ee90fc5bd3692b651ce0016679271db2bb8bfec42f2c",
}
SOURCES = {
    "sockreg.bpf.o": "936eb96d5a32f0b94c52d4a16058bb06f4757f3477a159b3c5e9b34290c03657",
    "sockops.bpf.o": "5d04815cf4d214c9956032032d09736d0fad55b7cefb7e3d3134e835746ea6dd",
}
