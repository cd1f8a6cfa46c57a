# Everything a contributor runs. Needs python3 (3.11 or later) with venv, and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Extra arguments for pip, such as `-c FILE` for another set of versions.
PIP_ARGS ?=
# Extra arguments for pytest, such as `-k paging`.
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help sync test coverage check format bench docs package clean

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

sync: $(VENV)/.cli ## Sync 200 leads of a sandbox into sandbox.sqlite
	$(BIN)/lofty-async sync --sandbox --db sandbox.sqlite

test: $(VENV)/.test ## Run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(TESTS)

coverage: export COVERAGE_FILE = $(CURDIR)/$(VENV)/.coverage
coverage: $(VENV)/.test ## Run the tests and hold their branch coverage to its floor
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses auto --dist loadgroup $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(VENV)/.dev ## Lint and type-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/ty check --python $(VENV) examples

format: $(VENV)/.dev ## Format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure against the baselines
	$(BIN)/python -m benchmarks

docs: $(VENV)/.docs ## Build the documentation into docs/_build, warnings being errors, and run its doctests
	$(BIN)/python -m sphinx -W --keep-going -q -b doctest docs docs/_build/doctest
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

package: $(VENV)/.test ## Build wheel and sdist into dist
	$(BIN)/python -m build

clean: ## Remove what was made
	rm -rf .venv* .coverage* .*_cache .hypothesis build dist docs/_build *.egg-info *.sqlite

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV) || { echo 'no venv module: on Debian, apt install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.cli: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[cli]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[cli,ical,orjson,otel,postgres,redis,workers]' --group test
	touch $@ $(VENV)/.cli

$(VENV)/.docs: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[cli,workers]' --group docs
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[cli,ical,orjson,otel,postgres,redis,workers]' --group dev
	touch $@ $(VENV)/.cli $(VENV)/.test $(VENV)/.docs
