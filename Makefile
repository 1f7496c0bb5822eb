# Two commands on a fresh machine (Python 3.11 or later with venv): make demo, make test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help setup demo test check bench soak lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.ready ## make .venv with locked versions

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup ## stream a generated market through both architectures; ARGS="--seconds 5 --json"
	$(BIN)/tickrail demo $(ARGS)

check: setup ## lint, format, types
	$(BIN)/ruff check src
	$(BIN)/ruff format --check src
	$(BIN)/mypy

test: check ## everything that must hold
	$(BIN)/pytest $(ARGS)

soak: setup ## the long forms: every interleaving of a lane to 8 steps, 10,000 seeds of the simulation
	cd src && ../$(BIN)/python -m tests.harness.soak $(ARGS)
	TICKRAIL_SOAK=1 $(BIN)/pytest src/tests/property src/tests/fuzz

bench: setup ## duets with intervals: adapters, deliver, direct against strategy
	cd src && ../$(BIN)/python -m tests.performance.websocket_performance_test $(ARGS)

lock: setup ## resolve the versions anew
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
