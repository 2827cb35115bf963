# `make detect` and `make test` work where nothing is installed: they make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
PHOTO ?= examples/photos/coffee.jpg

.PHONY: detect test test-all test-serve check bench fix install clean

detect: $(VENV)/.installed
	@mkdir -p $(OUT)
	$(BIN)/fo1 detect $(PHOTO) -q "cup; dog" --save $(OUT)/detect.png
	@echo "picture: $(OUT)/detect.png"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ""

# Requests that are made up from the server's own schema; the tool would slow the start of all other tests.
test-serve: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt schemathesis
	$(BIN)/python -m pytest tests/serving

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests recipes benchmarks examples
	$(BIN)/pyright --pythonpath $(BIN)/python

# The tables of docs/benchmarks.md, about an hour on two free cores.
bench: $(VENV)/.installed-dev
	for run in region_pooling region_encoder one_pass "one_pass --nano" batch vocabulary end_to_end arithmetic training; do \
		set -- $$run; echo "## $$run"; $(BIN)/python benchmarks/$$1.py $$2 || exit 1; \
	done

fix: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format src tests recipes benchmarks examples

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) $(OUT) build dist
