"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "023853f739657ca59d99a144145c9a9c104dd0527c34fa827b407d643705588d",
    "sockops.bpf.o": "216a26248652d536c7d92c56d683edf231b731041f37778f0ca7dc9353090d14",
}
SOURCES = {
    "sockreg.bpf.o": "1031fdea33d1f746be724d2117a65d5d95a52e5b34b074cb0e147d5162b91580",
    "sockops.bpf.o": "2b99baaad0e11e09b79eef1c1679b79ea1771a1bcadd8e0fbbae8d466a39801b",
}
