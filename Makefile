# Every target does its own set-up: see tests/prepare. Paths are relative to this file, and
# the tools of root's own PATH are found from any shell.
SHELL := /bin/bash
export PATH := /usr/local/sbin:/usr/sbin:/sbin:$(PATH)
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

PYTHON := .venv/bin/python
MAN := build/man/sockreg.8

.PHONY: help demo test bench bpf man lint clean

help:
	@echo 'make demo    play sockreg on a real systemd in throw-away namespaces (root)'
	@echo 'make test    run all tests (root)'
	@echo 'make bench   measure lookups, swaps and start-up times (root)'
	@echo 'make lint    format, lint and types only'
	@echo 'make bpf     compile bpf/sockreg.bpf.o'
	@echo 'make man     make the manual page $(MAN)'
	@echo 'make clean   remove what was built and installed here'

demo:
	@tests/prepare demo
	@$(PYTHON) -m tests.demo

test:
	@tests/prepare test
	@$(PYTHON) -m pytest

bench:
	@tests/prepare test
	@$(PYTHON) -m tests.bench

bpf:
	@tests/prepare test
	bpf/build.sh

# No set-up: go-md2man is all it takes.
man:
	@mkdir -p '$(dir $(MAN))'
	go-md2man -in docs/man/sockreg.8.md -out '$(MAN)'

lint:
	@tests/prepare test
	@$(PYTHON) -m pytest tests/pure/test_lint.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
