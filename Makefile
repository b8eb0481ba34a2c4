# On a machine with Python 3.11 and make: `make demo` and `make test`. Everything else: `make help`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?= -machine none -m 64 -serial file:/dev/null -monitor stdio

# Without compiled modules each start of vmd would compile them all.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo run test check bench soak record fuzz docs clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY) ## make .venv with vmd and everything that its tests need

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vmd needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--config-settings editable_mode=compat --editable '.[dev]'
	touch $(READY)

demo: $(READY) ## play a live update on real processes, and show it
	$(BIN)/python examples/demo.py

run: $(READY) ## start vmd; its command line is in ARGS
	$(BIN)/vmd $(ARGS)

test: check ## check, and run all tests
	$(BIN)/python -m pytest --numprocesses auto --quiet

check: $(READY) ## style, types, and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## vmd beside real QEMU, in one table
	$(BIN)/python -m tests.bench.bench

soak: $(READY) ## a million commands (or COUNT=…), and whether memory stays flat
	$(BIN)/python -m tests.robust.soak $(COUNT)

record: $(READY) ## ask the installed QEMU again, and keep its answers (NAMES="words of questions")
	$(BIN)/python -m tests.differential.book $(NAMES)

fuzz: $(READY) ## the tests of properties, with many more examples, and other ones each time
	$(BIN)/python -m pytest --numprocesses auto --quiet -m hypothesis --hypothesis-profile fuzz
	$(BIN)/python -m tests.fuzz.decoder
	$(BIN)/python -m tests.fuzz.stream

docs: $(READY) ## draw the pictures and tables of the documentation anew
	$(BIN)/python docs/generate.py

clean: ## remove what can be made again
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
