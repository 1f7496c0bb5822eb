# Two commands on a fresh machine (Python 3.11 or later with venv): make demo, make test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INTEROP := .venv-interop
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
MESSAGES := $(wildcard src/infrastructure/exchanges/*/*.proto)
ARGS ?=
BASE ?= HEAD~1

.PHONY: help setup demo test check bench bench-quick bench-gate bench-compare bench-peers bench-detector soak soak-live interop lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready ## make .venv with locked versions

$(VENV)/.ready: requirements.lock pyproject.toml setup.py $(MESSAGES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup ## stream three simulated exchanges and an account at each through both architectures; ARGS="--seconds 5 --json"
	$(BIN)/tickrail demo $(ARGS)

check: setup ## lint, format, types
	$(BIN)/ruff check src
	$(BIN)/ruff format --check src
	$(BIN)/mypy

test: check ## everything that must hold
	$(BIN)/pytest --numprocesses 3 --dist worksteal $(ARGS)

soak: setup ## the long forms: every interleaving of a lane to 8 steps, 10,000 seeds of the simulation, 10,000 orders of an account
	cd src && ../$(BIN)/python -m tests.harness.soak $(ARGS)
	TICKRAIL_SOAK=1 $(BIN)/pytest src/tests/property src/tests/fuzz src/tests/integration/test_shards.py src/tests/integration/test_account.py \
		src/tests/integration/test_account_rotation.py

soak-live: setup ## real sockets: 1,050 switches a minute with cuts and holes, of one venue and of all; connections replaced; 500 reconnects
	cd src && ../$(BIN)/python -m tests.harness.live_soak $(ARGS)
	TICKRAIL_SOAK=1 $(BIN)/pytest src/tests/integration/test_manager_load.py

bench: setup ## both architectures on every channel: time, latency, counts; writes .bench/ (under 10 minutes)
	cd src && ../$(BIN)/python -m tests.performance.websocket_performance_test $(ARGS)

bench-quick: setup ## the same of a few channels, under a minute
	cd src && ../$(BIN)/python -m tests.performance.websocket_performance_test --quick $(ARGS)

bench-gate: setup ## counts against the baseline: calls, allocations, instructions; ARGS=--record to take the present ones for it
	cd src && ../$(BIN)/python -m tests.performance.gate $(ARGS)

bench-compare: setup ## this revision against another, as a duet; BASE=HEAD~1
	cd src && ../$(BIN)/python -m tests.performance.compare_revisions $(BASE) $(ARGS)

bench-peers: setup $(INTEROP)/.ready ## against cryptofeed, ccxt.pro and a hand-written loop, on the same frames
	cd src && ../$(BIN)/python -m tests.performance.peers.compare ../$(INTEROP)/bin/python $(ARGS)

bench-detector: setup ## does the detector find what is planted, and raise no alarm where nothing is
	cd src && ../$(BIN)/python -m tests.performance.detector_check $(ARGS)

interop: setup $(INTEROP)/.ready ## unmodified ccxt.pro and cryptofeed on the simulated exchange, against tickrail
	cd src && ../$(BIN)/python -m tests.interop.compare ../$(INTEROP)/bin/python $(ARGS)

$(INTEROP)/.ready: interop/requirements.lock
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r interop/requirements.lock
	touch $@

lock: setup ## resolve the versions anew
	$(BIN)/pip install --quiet pip-tools
	$(COMPILE) --extra dev --output-file requirements.lock pyproject.toml
	$(COMPILE) --output-file interop/requirements.lock interop/requirements.in

clean: ## remove what the other targets made
	rm -rf $(VENV) $(INTEROP) .bench build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f $(MESSAGES:.proto=_pb2.py) $(MESSAGES:.proto=_pb2.pyi)
