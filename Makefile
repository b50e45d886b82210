# Two commands do everything on a fresh machine: `make demo` runs the playbook on a tiny model, `make test` passes the tests.
# TORCH_INDEX: where torch comes from. Empty: the index pip is set up with. Set it to a CPU index where that index serves a CUDA build
# of several GB, for example: make demo TORCH_INDEX=<URL of a CPU wheel index>
TORCH_INDEX ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONSTRAINTS ?= constraints-cpu-py311.txt
VENV ?= .venv
RECIPE ?= tiny
# One OpenMP thread per process: with several ranks on two cores, spinning OpenMP threads cost a factor of 2 to 20.
export OMP_NUM_THREADS ?= 1

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint $(CONSTRAINTS)
READY := $(VENV)/.installed

.PHONY: demo test test-slow check install clean
.DEFAULT_GOAL := help

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(READY) ## make the virtual environment and install smolflow with its pinned dependencies

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "smolflow needs Python 3.11 or newer (tested with 3.11): make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing into $(VENV) (about 3 minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip 'setuptools<82' wheel
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(PIP) --editable '.[data,dev,post]'
	@touch $(READY)

demo: $(READY) ## from raw text to an evaluated model on this machine, then say where to look (RECIPE=tiny)
	@$(BIN)/smolflow up
	@$(BIN)/smolflow run --recipe $(RECIPE)

test: $(READY) ## the quick suite, in at most 20 minutes on 2 cores
	@$(BIN)/python -m pytest -m "not slow and not browser and not gpu" $(PYTEST_ARGS)

test-slow: $(READY) ## what takes longer: full reshard matrix, browser, second pool, chaos
	@$(BIN)/python -m pytest -m "(slow or browser) and not gpu" $(PYTEST_ARGS)

check: $(READY) ## ruff, mypy, import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean: ## stop the local stack and remove its state (artifacts too)
	@if [ -x $(BIN)/smolflow ]; then $(BIN)/smolflow down; fi
	@rm -rf .smolflow
