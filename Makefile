# Crossdock. Needs GNU make and Python 3.11 or newer; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Tools keep their caches in the checkout, so that an empty or read-only home folder is no problem.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

ORDERS_PER_SECOND ?=
DURATION ?=
PYTEST_ARGUMENTS ?=
# How many processes run the tests, each with a PostgreSQL of its own.
TEST_PROCESSES ?= 2
MEASURES ?=

# The first interpreter that is new enough; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python; do \
	if $$candidate -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2])' >/dev/null 2>&1; \
	then command -v $$candidate; break; fi; done)

PIP_INSTALL = $(BIN)/python -m pip install -qq --require-hashes --requirement

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' \
		| while IFS=$$'\t' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

# ------------------------------------------------------------------ install
$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then
		echo "Crossdock needs Python 3.11 or newer with its venv module, and found none." >&2
		echo "On Debian or Ubuntu: apt-get install python3 python3-venv. Or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2
		exit 1
	fi
	echo "[1/3] Creating $(VENV) with $$($(PYTHON) --version)"
	if ! $(PYTHON) -m venv $(VENV); then
		rm -rf $(VENV)
		echo "Python could not create a virtual environment. On Debian or Ubuntu: apt-get install python3-venv" >&2
		exit 1
	fi

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "[2/3] Installing what Crossdock needs to run (about 30 s the first time)"
	$(PIP_INSTALL) requirements/runtime.txt
	echo "[3/3] Installing the crossdock command"
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "[test] Installing the tools of the tests (about 30 s the first time)"
	$(PIP_INSTALL) requirements/dev.txt
	touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.runtime
	@echo "[bench] Installing what the benchmark compares against"
	$(PIP_INSTALL) requirements/bench.txt
	touch $@

.PHONY: setup
setup: $(VENV)/.runtime ## Install Crossdock into .venv, without running it
	@echo "Crossdock is installed: $(BIN)/crossdock"

.PHONY: setup-dev
setup-dev: $(VENV)/.dev ## Install the tools for tests and checks too
	@echo "Everything is installed in $(VENV)"

# ------------------------------------------------------------------ run
.PHONY: run
run: $(VENV)/.runtime ## Bring up everything; ORDERS_PER_SECOND=n and DURATION=seconds are optional
	@exec $(BIN)/crossdock run --demo \
		$(if $(ORDERS_PER_SECOND),--orders-per-second $(ORDERS_PER_SECOND)) \
		$(if $(DURATION),--duration $(DURATION))

# ------------------------------------------------------------------ checks
.PHONY: lint
lint: $(VENV)/.dev ## Style
	@echo "== lint"
	$(BIN)/ruff check src tests examples $(wildcard bench)

.PHONY: types
types: $(VENV)/.dev ## Types, strict
	@echo "== types"
	$(BIN)/mypy

.PHONY: contracts
contracts: $(VENV)/.dev ## Import contracts: which layer may know which
	@echo "== import contracts"
	$(BIN)/lint-imports --no-cache

.PHONY: check
check: lint types contracts ## Lint, types, import contracts and the fast tests
	@echo "== fast tests"
	$(BIN)/pytest tests/unit tests/architecture -m "not slow and not process and not browser" $(PYTEST_ARGUMENTS)

.PHONY: browser
browser: ## Install Chromium for the browser tests, where that is possible
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
		echo "== browser: found"
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "== browser: installing Chromium"
		export DEBIAN_FRONTEND=noninteractive
		log=$$(mktemp)
		if { apt-get update && apt-get install -y --no-install-recommends chromium; } >"$$log" 2>&1; then
			echo "== browser: installed"
		else
			tail -5 "$$log"
			echo "!! BROWSER TESTS WILL BE SKIPPED: Chromium could not be installed"
		fi
		rm -f "$$log"
	else
		echo "!! BROWSER TESTS WILL BE SKIPPED: no Chromium here, and installing one needs root and apt-get"
	fi

.PHONY: erp
erp: $(VENV)/.runtime ## Install the real ERP (Tryton) into an environment of its own
	@echo "== ERP"
	CROSSDOCK_HOME=$(CURDIR)/.crossdock $(BIN)/crossdock sandbox tryton --setup

.PHONY: test
test: lint types contracts browser erp ## Everything: lint, types, import contracts, all tests
	@echo "== tests"
	CROSSDOCK_TEST_TRYTON_VENV=$(CURDIR)/.crossdock/tryton-venv $(BIN)/pytest \
		--numprocesses $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder $(PYTEST_ARGUMENTS)

# How many orders a seed of the long proof has, how many facts it comes to, and how many seeds of the other scenarios.
ORDERS ?= 200
FACTS ?= 1000000
SEEDS ?= 100
RESULTS := proof/results.jsonl
.PHONY: prove
prove: $(VENV)/.runtime ## Try to break it, for hours: goes on where proof/results.jsonl ends; FACTS=n, SEEDS=n are optional
	@mkdir -p $(dir $(RESULTS))
	status=0
	$(BIN)/crossdock prove --scenario order-path --orders $(ORDERS) --facts $(FACTS) --results $(RESULTS) || status=$$?
	for scenario in rush "erp-outage --orders 30" "business-day --orders 200"; do
		$(BIN)/crossdock prove --scenario $$scenario --seeds $(SEEDS) --results $(RESULTS) || status=$$?
	done
	exit $$status

.PHONY: bench
bench: $(VENV)/.bench ## Measure; writes bench/results/latest.jsonl; MEASURES="drain memory" is optional
	@$(BIN)/python -m bench $(MEASURES)

.PHONY: bench-peers
bench-peers: $(VENV)/.dev ## The same saga on Crossdock and on what one would take instead; writes docs/performance.md
	@$(BIN)/python -m bench.peers

# ------------------------------------------------------------------ upkeep
.PHONY: requirements
requirements: $(VENV)/.dev ## Lock the direct dependencies again (requirements/*.in to *.txt)
	@cd requirements
	# The machine's own pip settings (mirrors, local folders) must not leak into the lock.
	export PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make requirements"
	unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
	for name in runtime dev bench peers/dbos peers/procrastinate peers/pgqueuer peers/temporal peers/absurd; do
		echo "== locking $$name"
		../$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
			--no-emit-find-links --no-emit-trusted-host --output-file "$$name.txt" "$$name.in"
	done

.PHONY: sbom
sbom: $(VENV)/.dev ## Write the software bill of materials to sbom/crossdock.cdx.json
	@mkdir -p sbom
	$(BIN)/python -W ignore -m cyclonedx_py requirements requirements/runtime.txt --pyproject pyproject.toml --output-reproducible \
		--of JSON --output-file sbom/crossdock.cdx.json
	echo "sbom/crossdock.cdx.json"

.PHONY: clean
clean: ## Remove the environment, caches and results; .crossdock (your data) stays
	@rm -rf $(VENV) $(VENV)-tryton build dist sbom .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
