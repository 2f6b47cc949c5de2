"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "84f024806212727dcb78406985452e385ab1614e0f11765015ce9eafb77ea431"
SOURCE = "16146c417277cec902691a6f649535d10b4f6d208ad27df9b5491c6da9b552e9"
