"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "c2acf9a8eb06ad4f6726d98503e543ea8030e1601fc84f989930d047e9aa79ab"
SOURCE = "f8398797647c866b389a53a745e0e994bdbb2effe2093e3301f722fc09b63bd5"
