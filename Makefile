# The two commands of the README: `make` reproduces the paper on the default config, `make test`
# runs all the tests. Both set up .venv from the lock file first.

PYTHON ?= python3.11
CORES ?= all
VENV := .venv
READY := $(VENV)/.installed

.PHONY: run test check benchmark lock

run: $(READY)
	$(VENV)/bin/snakemake --cores $(CORES)

test: $(READY)
	$(VENV)/bin/python -m pytest

check: $(READY)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow/rules
	$(VENV)/bin/snakemake --lint

benchmark: $(READY)
	$(VENV)/bin/python tests/benchmarks/training.py
	$(VENV)/bin/python tests/benchmarks/sampling.py
	$(VENV)/bin/python tests/benchmarks/biographies.py

$(READY): envs/requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	touch $@

# A new environment from requirements.in, frozen.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet -r envs/requirements.in
	.venv-lock/bin/python envs/lock.py
	rm -rf .venv-lock
