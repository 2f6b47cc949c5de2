"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "3dfda7bf211c779a6579e6e2070d21192a8ddea8d421492ea2a8106df1210954"
SOURCE = "b51e753f445d4a82f9aa5ff4a3f297069cc1db19bc571021476dfe5ff5109dc2"
