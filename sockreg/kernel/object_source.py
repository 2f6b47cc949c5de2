"""The SHA-256 of the sources of bpf/sockreg.bpf.o; written by bpf/build.sh."""

SOURCE = "ec226f9e2c24d4b0077f6181da70d2cbd7dd1b4e9cde51f40654f438080ca475"
