# make study     set up, run the quickstart study, write its report
# make test      set up with the development tools, then everything CI checks
# make test-all  the same with the long tests, up to an hour more on two cores
# make format    rewrite the sources in the house format
# make lock      pin what .venv now has installed (after a deliberate upgrade)
#
# Set-up lives in .venv, takes every version from requirements/, and is repeated only when those or pyproject.toml
# change. `make PYTHON=/path/to/python study` picks the interpreter.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
TESTS := tests-of-test tests-of-test-all
.PHONY: help setup setup-dev study test test-all $(TESTS) check format lock

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
WORKERS ?= 2
STORE := study/quickstart.sqlite

# Wheels only: a source archive would fetch an unpinned build backend.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install
LOCKED := --only-binary :all: --requirement
PROGRESS := sed -n -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Successfully installed.*/  installed/p'

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(VENV)/ready-run
setup-dev: $(VENV)/ready-dev

$(BIN)/python:
	@found=""; \
	for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "setup: none of $(CANDIDATES) is Python 3.11 or newer;" \
	    "install one, or name it: make PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	echo "setup: $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear --without-pip $(VENV)

$(VENV)/ready-run: $(BIN)/python requirements/run.txt pyproject.toml
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip --default-pip >/dev/null || { \
	  echo "setup: this Python cannot install pip into $(VENV); on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	@echo "setup: packages from requirements/run.txt (torch is the large one)"
	@$(INSTALL) $(LOCKED) requirements/run.txt | $(PROGRESS)
	@echo "setup: widthwise itself"
	@$(INSTALL) --no-deps --no-build-isolation --editable . | $(PROGRESS)
	@$(BIN)/python -m pip check
	@touch $@

# Triton, whose interpreter tests the kernels on a CPU, comes with torch's CUDA builds at their own version.
$(VENV)/ready-dev: $(VENV)/ready-run requirements/dev.txt requirements/kernels.txt
	@echo "setup: development tools from requirements/dev.txt"
	@$(INSTALL) $(LOCKED) requirements/dev.txt | $(PROGRESS)
	@$(BIN)/python -c 'import triton' 2>/dev/null || $(INSTALL) $(LOCKED) requirements/kernels.txt | $(PROGRESS)
	@$(BIN)/python -m pip check
	@touch $@

study: setup
	@mkdir -p $(dir $(STORE))
	$(BIN)/widthwise study run quickstart --store $(STORE)
	$(BIN)/widthwise study report $(STORE) --out study/report

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright

# The checker of types works on one core for a minute: the tests do not wait for it. Both are seen to their end.
test test-all: setup-dev
	@$(MAKE) --no-print-directory --jobs 2 check tests-of-$@

# Every interpreter that the tests start reads what the first one has compiled.
$(TESTS): export PYTHONDONTWRITEBYTECODE :=
$(TESTS): setup-dev
	$(BIN)/pytest -q -n $(WORKERS) $(if $(filter %-all,$@),,-m "not slow")

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup-dev
	$(BIN)/python scripts/lock.py
