"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "3875b4668d37ba1d08e4cf2a4d73fbc00601aaea19a3377919b2b556eb92e7c7"
SOURCE = "3d6cc4a81d2cd42282a7bacd3ed3a146a8fec531973a37e930071f3d1fefe78f"
