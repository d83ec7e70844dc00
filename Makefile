# Everything is set up in .venv from nothing but Python and make.
#   make demo   the main job on real data           make check  lint, types, import contracts, tests
#   make test   the tests                           make bench  speed in short (minutes); results in build/bench/
#   make docs   the documentation site, in site/    make bench-all  every benchmark in full (hours); benchmarks/results/
#   make mutants  small changes of the source, and whether the tests notice them (an hour or two)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip compiles what it installs on one core, compileall on all of them; a package may ship files of another Python.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
COMPILE := $(BIN)/python -W ignore -m compileall -q -j 0 $(VENV)/lib > /dev/null || true
# Two workers on two cores; one thread each, so that they do not fight over them.
BENCH := OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks
RESULTS := benchmarks/results
# Compiled modules are kept also where the environment says otherwise: tests start some hundred processes.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(or $(JOBS),2) --dist worksteal

.PHONY: demo test test-all check lint types contracts bench bench-all mutants docs clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[lab]'
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	@$(COMPILE)
	@touch $@ $(VENV)/.lab

demo: $(VENV)/.lab
	$(BIN)/fanin demo --out demo-out

test: $(VENV)/.dev
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev
	$(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

check: lint types contracts test

# Two models suffice to see whether a check became slower; bench-all measures all of them.
bench: $(VENV)/.dev
	$(BENCH).speed.fill --quick --rounds 3 --out build/bench/fill
	$(BENCH).speed.check_cost --case 'MLP 64-128-10' --case ResNet-18 --out build/bench/check_cost.md

bench-all: $(VENV)/.dev
	$(BENCH).speed.fill
	$(BENCH).speed.check_cost
	$(BENCH).speed.calibrate_cost
	$(BENCH).speed.trial_cost
	$(BENCH).speed.jax_shapes
	$(BENCH).speed.watching
	$(BENCH).accuracy.calibrated_zoo
	$(BENCH).accuracy.graph_zoo
	$(BENCH).accuracy.moments_zoo --seeds 1 2 3 --out $(RESULTS)/moments_zoo.json
	$(BENCH).accuracy.prediction_zoo --out $(RESULTS)/prediction_zoo.md
	$(BENCH).accuracy.plan_zoo --out $(RESULTS)/plan_zoo.json
	$(BENCH).accuracy.check_peers
	$(BENCH).accuracy.verdicts
	$(BENCH).accuracy.stock_verdicts
	$(BENCH).accuracy.watching
	$(BENCH).training.race
	$(BENCH).training.study
	$(BENCH).training.mirrored
	$(BENCH).training.shaped

# The site, into site/; first the committed pages that come from the code, then all others into build/docs.
# Figures of the lab are committed: python -m tools.lab_page runs the experiments again.
docs: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.site

# An hour or two for a whole sample; the session is in .mutants, and a second call goes on where the first stopped.
mutants: $(VENV)/.dev
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(BIN)/python -m tools.mutants --sample 200 --seed 1 --out $(RESULTS)/mutants.md

clean:
	rm -rf $(VENV) demo-out build site dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
