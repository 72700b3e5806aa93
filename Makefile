# Everything there is to know: `make demo` shows it, `make check` and `make test` prove it. `make help` lists the rest.
#
# Each target works alone on a machine with Python ≥ 3.11, pip and make: the environment in .venv is made when it is
# missing or when pyproject.toml or constraints.txt changed, and a second call is instant.
#
#   make demo ARGS="--seed 3"          flags for the demo
#   make bench ARGS="--jobs dpo --models gpt2"       another part of benchmarks/speed.py; see its --help
#   make bench BENCH=trl_ppo ARGS="--model FOLDER"   another benchmark; real_data and trl_ppo need a folder of yours
#   make test PYTHON=python3.12        another interpreter (then `make clean` first)
#   make demo TORCH_INDEX=<URL>        take torch from another package index, such as PyTorch's CPU-only one

PYTHON      ?= python3
VENV        ?= .venv
TORCH_INDEX ?=
WORKERS     ?= 2
ARGS        ?=
BENCH       ?= speed

BIN := $(VENV)/bin
RUN := $(BIN)/python -m
# `--dist loadfile`: the tests of one file share their models; two workers of one thread each fill two cores.
TESTS := $(RUN) pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-all check format bench bench-full docs constraints clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || grep '## ' Makefile

venv: $(VENV)/.package  ## make .venv and install the package with pinned versions

# torch goes in first and alone: no other package's looser wish can then bring in a newer or a CUDA build of it.
$(VENV)/.package: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tutelage needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@$(RUN) pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) 2>/dev/null || \
	  { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@echo "Installing torch and then tutelage into $(VENV) (about 2 GB, once) …"
	@$(RUN) pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.package
	@echo "Installing the test tools into $(VENV) …"
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.package  ## the whole round on data it makes itself: pretrain, SFT, ratings, reward, PPO, report
	@$(BIN)/tutelage demo $(ARGS)

test: $(VENV)/.dev  ## the tests, without the slow ones
	@$(TESTS) $(ARGS)

test-all: $(VENV)/.dev  ## every test, the slow ones too
	@$(TESTS) -m "" $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, architecture
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; $(BIN)/ruff format --check . | tail -n 20; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(RUN) pytest --quiet tests/test_architecture.py

format: $(VENV)/.dev  ## mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

bench: $(VENV)/.dev  ## speed beside TRL, 10 minutes on two cores (BENCH="seeds ten_seeds frontier" for others: hours)
	@set -e; for name in $(BENCH); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(ARGS); done

bench-full: $(VENV)/.dev  ## speed beside every peer and setting, two sizes, six rounds (hours)
	@$(BIN)/python benchmarks/speed.py --full $(ARGS)

docs: $(VENV)/.dev  ## write docs/cli.md anew from the commands, and check every page
	@$(RUN) tutelage.cli._docs docs/cli.md
	@$(RUN) pytest --quiet tests/test_docs.py

constraints: $(VENV)/.dev  ## write constraints.txt anew from what is installed
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@{ sed -n '/^#/p' constraints.txt; $(RUN) pip freeze --exclude-editable | sed 's/+.*//' | grep '=='; } > .constraints.new
	@mv .constraints.new constraints.txt

clean:  ## remove the environment and the caches; keeps runs/
	@rm -rf $(VENV) build dist .pytest_cache .ruff_cache
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
