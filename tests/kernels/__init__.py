"""The tests of tests/kernel, and what older kernels do differently, on kernels of distributions.

``python -m tests.kernels [SUITE...]`` (``make test-kernels``) boots the kernel of each suite in
QEMU, without KVM, from an initramfs that is made here: this machine's Python, the working tree,
and ``init.py`` as the first process, which runs pytest and powers off. Nothing is installed.
"""
