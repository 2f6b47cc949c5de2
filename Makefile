# Only `make setup`, `make demo` and `make test` install packages. Paths are relative to this file,
# and the tools of root's own PATH are found from any shell.
SHELL := /bin/bash
export PATH := /usr/local/sbin:/usr/sbin:/sbin:$(PATH)
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

PYTHON := .venv/bin/python
MAN := docs/man/sockreg.8
# What `make setup` prepares for: demo, deb, test, which is everything else, fuzz, browser, fleet or site.
FOR := test

.PHONY: help setup demo test test-long test-oracle test-truth test-faults test-soak test-fuzz test-257 test-newest test-bare test-kernels test-packages test-recipes test-browser test-fleet bench docs-site bpf man completion deb rpm lint clean

help:
	@echo 'make setup   install the packages that the other targets need (root)'
	@echo 'make demo    play sockreg on a real systemd in throw-away namespaces (root)'
	@echo 'make test    run all tests; without root those that do without it'
	@echo 'make test-long run more cases of what make test shows (root)'
	@echo 'make test-oracle ask the program in the kernel about ten million packets (root)'
	@echo 'make test-truth compare what the commands say with what packets meet (root)'
	@echo 'make test-faults let each system call of each command go wrong in each way (root)'
	@echo 'make test-soak change a host at random under traffic for SECONDS=600 (root)'
	@echo 'make test-fuzz look for input that is not borne, for SECONDS=600 (needs make setup FOR=fuzz)'
	@echo 'make test-257 run the tests that need systemd 257, in a Debian 13 (root)'
	@echo 'make test-newest run the same tests with the newest systemd, in a Debian sid (root)'
	@echo 'make test-bare run the commands of the README in a bare Debian 12, 13 and sid (root)'
	@echo 'make test-kernels run the tests of steering on kernels from 5.10 on, in QEMU (root)'
	@echo 'make test-packages build packages in Debian 12, 13 and sid; check units of others (root)'
	@echo 'make test-recipes play docs/recipes with the servers of Debian 12 and 13 (root)'
	@echo 'make test-browser look at the report and the site in Chromium (needs make setup FOR=browser)'
	@echo 'make test-fleet bring rules to three hosts with Ansible and etcd (needs make setup FOR=fleet)'
	@echo 'make docs-site build the documentation as a site, in build/site'
	@echo 'make bench   run the measurements of docs/benchmarks.md (root)'
	@echo 'make lint    run only the linters'
	@echo 'make bpf     compile bpf/*.bpf.o'
	@echo 'make man     make the manual page $(MAN)'
	@echo 'make completion make units/sockreg.{bash-completion,zsh,fish}'
	@echo 'make deb     build the Debian package in dist/; make setup FOR=deb installs what it needs'
	@echo 'make rpm     build the RPM package in dist/, with rpmbuild(1) of this system'
	@echo 'make clean   remove what was built and installed here'

setup:
	@tests/prepare $(FOR)

demo:
	@tests/prepare demo
	@$(PYTHON) -m tests.demo

# OPTIONS= are pytest's, such as --no-skips.
test: setup
	@$(PYTHON) -m tests.run $(OPTIONS)

# More cases of what `make test` shows.
test-long:
	@tests/prepare --check test
	@$(PYTHON) -m pytest -m long tests/kernel tests/systemd

# Ten million packets, asked of the program in the kernel and of a reference. SEED= repeats a run.
test-oracle:
	@tests/prepare --check test
	@$(PYTHON) -m tests.oracle $(if $(SEED),--seed $(SEED))

# SEEDS= and FIRST= are numbers: how many seeds there are, and the first one.
SEEDS := 250
FIRST := 0
test-truth:
	@tests/prepare --check test
	@$(PYTHON) -m tests.truth $(SEEDS) $(FIRST)

# SCENARIOS= names some, with commas between; SCENARIOS='NAME NUMBER FAULT' repeats one case.
test-faults:
	@tests/prepare --check test
	@$(PYTHON) -m tests.faults $(SCENARIOS)

# SECONDS= says how long.
test-soak:
	@tests/prepare --check test
	@$(PYTHON) -m tests.soak $(SECONDS)

# New inputs for all readers of input, in memory; no root. READERS= names some of them.
SECONDS := 600
test-fuzz:
	@tests/prepare --check fuzz
	@$(PYTHON) -m tests.fuzz $(SECONDS) $(READERS)

# What sockreg needs, and the tools that tests run inside.
IN_A_BOX := iproute2 libbpf1 python3 python3-numpy python3-pyelftools python3-systemd systemd util-linux

# Tests of a unit's whole path and of what only a newer systemd does.
OF_SYSTEMD := \
	tests/systemd257 \
	tests/systemd/test_counting.py tests/systemd/test_degraded.py \
	tests/systemd/test_independence.py \
	tests/systemd/test_interfaces.py \
	tests/systemd/test_labels.py \
	tests/systemd/test_lacking.py \
	tests/systemd/test_lifecycle.py \
	tests/systemd/test_loader.py \
	tests/systemd/test_package.py \
	tests/systemd/test_receive.py \
	tests/systemd/test_several_listeners.py \
	tests/systemd/test_sockets.py \
	tests/systemd/test_sockops.py \
	tests/systemd/test_ssh.py tests/systemd/test_typing_errors.py

# SUITE= names another suite of Debian; its systemd must be 256 or later.
SUITE := trixie
test-257:
	@tests/prepare --check test
	@root=$$(tests/debian-root $(SUITE) $(IN_A_BOX)) && \
		SOCKREG_TEST_ROOT=$$root $(PYTHON) -m pytest $(OF_SYSTEMD)

# The same with the systemd of Debian sid on the day that its root is made.
test-newest:
	@$(MAKE) test-257 SUITE=sid

# The README, literally, in Debian 12, 13 and sid as debootstrap makes them. Takes as long as `make test`
# and ten minutes. BARE= names some of the suites.
test-bare:
	@tests/prepare --check test
	@$(PYTHON) -m tests.bare $(BARE)

# On kernels of Debian and Ubuntu, in QEMU without KVM. SUITES= names others than the usual ones.
test-kernels:
	@tests/prepare --check test
	@$(PYTHON) -m tests.kernels $(SUITES)

# Takes 110 MB of packages, and three Debian systems of 1.5 GB each, from where this machine's apt does, once.
test-packages:
	@tests/prepare --check test
	@$(PYTHON) -m pytest tests/packaged

# Takes two Debian systems with the servers, from where this machine's apt does, once.
test-recipes:
	@tests/prepare --check test
	@$(PYTHON) -m pytest tests/recipes

# The Ansible collection, and etcd as the source of rules, each with three booted hosts.
test-fleet:
	@tests/prepare --check fleet
	@$(PYTHON) -m pytest -m "long or not long" tests/fleet tests/systemd/test_files.py

# The documentation as a site, in build/site. Needs the network once, for mkdocs.
docs-site:
	@tests/prepare site
	@.venv/apart/site/bin/python units/site/build.py build/site
	@echo 'build/site/index.html'

# The page of sockreg report, and the site of the documentation, on screens of two widths, light and dark, and on paper.
test-browser:
	@tests/prepare --check browser
	@$(PYTHON) -m pytest tests/browser

bench:
	@tests/prepare --check test
	@$(PYTHON) -m tests.bench $(OPTIONS)

bpf:
	@tests/prepare --check test
	bpf/build.sh

# No set-up: go-md2man and awk are all it takes. What they make is committed, for installs without.
man:
	@mkdir -p '$(dir $(MAN))'
	go-md2man -in docs/man/sockreg.8.md -out '$(MAN).raw'
	awk -f units/man/tidy.awk '$(MAN).raw' >'$(MAN)'
	@rm '$(MAN).raw'

# shtab makes them from the parser of the command line, and nothing needs it afterwards.
completion:
	@tests/prepare --check test
	PYTHONPATH=. $(PYTHON) units/completion/generate.py units

deb:
	@tests/prepare --check deb
	@units/debian/build.sh

# On a system with RPMs, dnf builddep installs what the spec file names.
rpm:
	@units/rpm/build.sh

lint:
	@tests/prepare --check test
	@$(PYTHON) -m pytest tests/pure/test_lint.py

clean:
	rm -rf .tox .venv build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
