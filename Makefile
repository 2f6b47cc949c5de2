# Every target does its own set-up: see tests/prepare. Paths are relative to this file, and
# the tools of root's own PATH are found from any shell.
SHELL := /bin/bash
export PATH := /usr/local/sbin:/usr/sbin:/sbin:$(PATH)
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

PYTHON := .venv/bin/python
MAN := docs/man/sockreg.8

.PHONY: help demo test test-257 test-kernels bench bpf man deb lint clean

help:
	@echo 'make demo    play sockreg on a real systemd in throw-away namespaces (root)'
	@echo 'make test    run all tests (root)'
	@echo 'make test-257 boot a Debian 13 with systemd 257 and run what is different there (root)'
	@echo 'make test-kernels run the tests of steering on kernels from 5.10 on, in QEMU (root)'
	@echo 'make bench   measure all that docs/benchmarks.md tells of (root)'
	@echo 'make lint    format, lint and types only'
	@echo 'make bpf     compile bpf/*.bpf.o'
	@echo 'make man     make the manual page $(MAN)'
	@echo 'make deb     build the Debian package in dist/'
	@echo 'make clean   remove what was built and installed here'

demo:
	@tests/prepare demo
	@$(PYTHON) -m tests.demo

test:
	@tests/prepare test
	@$(PYTHON) -m tests.run

# The whole path of a unit, and what only a newer systemd can. Fails if it cannot be had.
test-257:
	@tests/prepare test
	@root=$$(tests/trixie) && SOCKREG_TEST_ROOT=$$root $(PYTHON) -m pytest tests/systemd257 \
		tests/systemd/test_counting.py tests/systemd/test_lifecycle.py \
		tests/systemd/test_package.py tests/systemd/test_receive.py \
		tests/systemd/test_sockets.py tests/systemd/test_sockops.py

# On kernels of Debian and Ubuntu, in QEMU without KVM. SUITES= names others than the usual ones.
test-kernels:
	@tests/prepare test
	@$(PYTHON) -m tests.kernels $(SUITES)

bench:
	@tests/prepare test
	@$(PYTHON) -m tests.bench $(OPTIONS)

bpf:
	@tests/prepare test
	bpf/build.sh
	bpf/build-sockops.sh

# No set-up: go-md2man is all it takes. What it makes is committed, for installs without it.
man:
	@mkdir -p '$(dir $(MAN))'
	go-md2man -in docs/man/sockreg.8.md -out '$(MAN)'

deb:
	@tests/prepare deb
	@units/debian/build.sh

lint:
	@tests/prepare test
	@$(PYTHON) -m pytest tests/pure/test_lint.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
