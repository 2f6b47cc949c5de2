"""What differs between kernels, on those of distributions.

``python -m tests.kernels [SUITE...]`` (``make test-kernels``) boots the kernel of each suite in
QEMU, without KVM, from an initramfs that is made here: this machine's Python, the working tree,
and ``init.py`` as the first process, which runs pytest and powers off. Nothing is installed.

virtme-ng does not serve: it shares this machine's root over 9p or virtiofs, and Debian's kernels
for virtual machines are built without 9p; it needs KVM to be quick, and kmod to be installed.
"""
