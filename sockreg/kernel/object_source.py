"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "0ae67162f6c98d5cc2577c0ea2ae85e02d86a705264690b54124c000788cdf88"
SOURCE = "d9a091e9dd627b66820c3d45a29438a72ce5515e02fe6c875ad712cbda126458"
