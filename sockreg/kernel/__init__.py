"""The interfaces of the kernel: bpf(2), directly and through libbpf, and the shipped objects."""
