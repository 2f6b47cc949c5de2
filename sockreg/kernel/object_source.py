"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "2935dbcb674739c5c245f9fc62b38079d8519f6eb7b3e9e1ebb763798f0262c1"
SOURCE = "83620b08fc90871a51278b93d18534a925bb8cf24dbca45a5c8cfd96b17a1bab"
