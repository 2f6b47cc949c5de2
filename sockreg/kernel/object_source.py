"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "28ab5ab10582d606e52a5dcf8a82fb39a2771a4fb7da45415a32f332d4105673"
SOURCE = "029ce369b115556a0c11873cb8e16ab056e747f247d25e3a5f0eb7e8741db4e7"
