"""The SHA-256 of the sources of bpf/sockreg.bpf.o; written by bpf/build.sh."""

SOURCE = "50e8dd35c03a81950f5d1e370084042b103bfff45bc0bbfb99e6c84339ff5a50"
