# One environment, .venv in this checkout, made once for all targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
WORKERS ?= 8
SCENES ?= moderate
export DATAOPS_PARSL_TEST_DATA ?= $(wildcard $(abspath ../shared/data))

.DEFAULT_GOAL := help
.PHONY: help demo run test faults slow lint config real truth bench bench-replay bench-stages bench-slurm bench-gpu clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY) ## Simulate a killing assay, analyse it, compare with its truth
	$(BIN)/python -m dataops_parsl run --workers $(WORKERS)

run: $(READY) ## Run a dataset: make run DATASET=name WORKERS=8
	$(BIN)/python -m dataops_parsl run --workers $(WORKERS) $(if $(DATASET),--dataset $(DATASET))

test: $(READY) lint ## Lint, type-check and run the tests, and say what each part took
	$(BIN)/python -m tests.timed

faults: $(READY) ## Kill at every point that was counted; provoke every fault on a private SLURM cluster (needs root on Debian)
	$(BIN)/python -m pytest -q -m faults tests

slow: $(READY) ## What would make the tests too long
	$(BIN)/python -m pytest -q -m slow tests

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

config: $(READY) ## Write configs/config.def.toml from the models
	$(BIN)/python -m dataops_parsl config --write-default
	$(BIN)/python tests/write_docs.py

real: $(READY) ## Run real microscopy with known truth and score it (needs DATAOPS_PARSL_TEST_DATA)
	$(BIN)/python -m tests.real.score

truth: $(READY) ## Simulate the committed scenes, run them and score against their truth: make truth SCENES=moderate
	@test -d data/datasets/truth_$(SCENES) || \
	  $(BIN)/python -m dataops_parsl dataset simulate $(SCENES) --name truth_$(SCENES)
	$(BIN)/python -m dataops_parsl run --dataset truth_$(SCENES) --workers $(WORKERS)

bench: $(READY) ## How the stages scale from 1 to 8 workers, on a small film (10 minutes)
	$(BIN)/python -m dataops_parsl bench

bench-replay: $(READY) ## The engine alone: pyCyto's published costs replayed, beside bare Parsl (25 minutes)
	$(BIN)/python -m dataops_parsl bench --replay pycyto

# In an environment of its own: laptrack refuses the version of scipy that antspyx needs.
.venv-laptrack/.ready:
	$(PYTHON) -m venv .venv-laptrack
	.venv-laptrack/bin/pip install --quiet --disable-pip-version-check laptrack==0.17.1
	@touch $@

bench-stages: $(READY) .venv-laptrack/.ready ## The stages against the field's own tools: make bench-stages SECTIONS=linking
	$(BIN)/python -m tests.bench.stages $(SECTIONS)

bench-slurm: $(READY) ## Parallel efficiency on SLURM (your cluster's, or a private one)
	$(BIN)/python -m tests.bench.efficiency

bench-gpu: $(READY) ## cpsam on a GPU beside a plain loop over model.eval; needs the extra backends and a card
	$(BIN)/python -m tests.bench.gpu $(ARGS)

clean: ## Remove the environment and caches; data and output stay
	rm -rf $(VENV) .venv-laptrack build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
