"""The fixtures of tests/kernel, for the modules that show what older kernels do."""

from __future__ import annotations

from tests.kernel.conftest import bpffs_path, host, namespace

__all__ = ["bpffs_path", "host", "namespace"]
