"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "10da2ce830e84ac7cc9fe8d18cddba9968ba359eafba0f6f6140f045b3a6d8eb",
    "sockops.bpf.o": "b5f1820e90759f1316813a1d81ec41542ea5d06eccb5b353a312509c555111c2",
}
SOURCES = {
    "sockreg.bpf.o": "3c93e0c1212b18eea1d6999a38cd0832afc0af64de2c06563e575b1ce0298d21",
    "sockops.bpf.o": "b0abfde2f300060710217b27e33b58168503ec2077888e44536d3f501c3a0aef",
}
