"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "1af220762dd3840884365d27819aef03b9b81b06abb3102a24703c17d6ce343f"
SOURCE = "985ff9d42c510a629565d7c91169930fb6bfc2bb526522a02cd8b04d179e3da1"
