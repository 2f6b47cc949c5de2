"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "86b94cdd367f68bd5cd27fcb597253ddf3400f3fce72a20257d1d485c6bfaa8e"
SOURCE = "eab598e85b991a9de029aec21b7b2d1b57bdf2611f59d6362b0496584b976276"
