"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "1b9115714c1bf05a32df0f1683aa15d4147e3bf989072dc75757daddc623ef3f"
SOURCE = "956d007f8850881ff5ee1a3933214c9fcf37176af73bed7327b086f77d8b2aee"
