# Everything runs on a bare Debian 12 that has make, git, and root or sudo. What is there already is not done again.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
PYTHON := /usr/bin/python3
UV := .tools/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin
STAMP := .venv/.synced
LISTS := $(addprefix deploy/packages,.txt -host.txt -build.txt -test.txt)

# The bindings of libguestfs and libnbd are Debian's, so the environment is Debian's Python with its packages visible.
export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
export PYTHONUNBUFFERED := 1

# The demo, the lab's guest and the tests use the system's libvirtd, and start it where no service manager does.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env)

FAST := tests/unit
# Two files at a time, those with real guests first: they wait for one core, and take the longest.
SUITE := tests/system tests/faults tests/component tests/contract tests/functional tests/hostile tests/sheets tests/unit
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help packages setup demo test slow check lab guests bench run clean

help: ## say what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

packages:
	@deploy/install-packages $(LISTS)

$(UV): | packages
	$(PYTHON) -m venv $(@D:/bin=)
	$(@D)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): uv.lock pyproject.toml | packages $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --system-site-packages .venv
	$(UV) sync --quiet --frozen
	touch $@

setup: packages $(STAMP) ## install what everything else needs

demo: setup ## move one real VM from the lab to a running libvirt guest
	$(AS_ROOT) $(BIN)/python -m tests.system.demo

test: setup ## everything but what is marked slow
	$(AS_ROOT) $(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) $(SUITE)

slow: setup ## what takes many minutes or a second toolchain
	@deploy/install-packages deploy/packages-slow.txt
	$(UV) sync --quiet --frozen --group slow
	$(AS_ROOT) $(BIN)/pytest -m slow $(SUITE)

check: setup ## lint, types, import rules, fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q -m "not slow" $(SIDE_BY_SIDE) $(FAST)

lab: setup ## the vSphere lab alone, left running
	$(AS_ROOT) $(BIN)/python -m tests.lab

bench: setup ## how fast it is, against other tools: docs/bench; about an hour
	@deploy/install-packages deploy/packages-bench.txt
	$(AS_ROOT) $(BIN)/python -m tests.bench

guests: setup ## each guest of the lab moved and booted: docs/guests.md; goes on where it stopped
	$(AS_ROOT) $(BIN)/python -m tests.guests

run: setup ## vmferry up
	$(BIN)/vmferry up

clean: ## remove what was made in this folder; the lab's guest stays in its cache
	$(AS_ROOT) rm -rf .venv .tools .cache build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	$(AS_ROOT) find . -name __pycache__ -prune -exec rm -rf {} +
