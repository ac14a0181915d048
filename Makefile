# `make demo` and `make test` are all that a fresh machine needs: Python 3.10-3.13 and make.
# Both set up .venv first, which does nothing when it is current.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test check bench-data bench-training bench-loo chaos trials format clean distclean

help:
	@echo "make setup      install into $(VENV) (PYTHON=python3.12 chooses another Python)"
	@echo "make demo       cross-validate and interpret a model on synthetic transcripts, into demo/"
	@echo "make test       run the tests (ARGS='tests/unit -k splits' chooses some)"
	@echo "make check      style, types and import direction"
	@echo "make bench-data measure how fast data are prepared and fed (three minutes, 15 GB of disk)"
	@echo "make bench-training measure how fast models train and predict (twelve minutes)"
	@echo "make chaos      interrupt trainings in every way there is and compare weights (half an hour)"
	@echo "make trials     try 300 ways in which things go wrong and count how they end (forty minutes)"
	@echo "make bench-loo  measure how fast leave-one-out scores are (ten minutes)"
	@echo "make format     put the code into the house's format"
	@echo "make clean      remove demo/ and what tools leave behind"
	@echo "make distclean  remove $(VENV) as well"

setup: $(READY)

# The folder is made anew when it belongs to another Python than the one asked for.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 10) <= v <= (3, 13))' 2>/dev/null || \
	  { echo "biolm_ray needs Python 3.10 to 3.13, but '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo missing). Name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@wanted=$$($(PYTHON) -c 'import sys; print(sys.version_info[:2])'); \
	  found=$$($(BIN)/python -c 'import sys; print(sys.version_info[:2])' 2>/dev/null || true); \
	  if [ "$$found" != "$$wanted" ]; then $(PYTHON) -m venv --clear $(VENV); fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/python -m biolm_ray.demo demo $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python tools/check_imports.py

bench-data: setup
	$(BIN)/python benchmarks/data.py $(ARGS)

bench-training: setup
	$(BIN)/python benchmarks/training.py $(ARGS)

chaos: setup
	$(BIN)/python benchmarks/chaos.py $(ARGS)

trials: setup
	PYTHONPATH=tests $(BIN)/python -m trials $(ARGS)

bench-loo: setup
	$(BIN)/python benchmarks/leave_one_out.py $(ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf demo build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find biolm_ray tests tools examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
