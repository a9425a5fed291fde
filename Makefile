# Bare `make` prints the commands. All of them work with Python 3.11 or later, make and a package registry.
SHELL := /bin/sh
# The first Python that is 3.11 or later; `make PYTHON=/path/to/python` names one.
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv/bin
SEED ?= 1
MINUTES ?= 5
FIRST ?= 1
LAST ?= 400
# One more than the two cores that the suite is made for: tests with a broker wait for two fifths of their time.
PROCESSES ?= 3

# Bytecode is kept, whatever the environment says: without it each start of the command compiles two hundred modules.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-kafka test check lint bench bench-rows bench-ticks bench-kafka bench-stopped fuzz fuzz-sql chaos dist docs lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with everything in it (nothing to do when it is there)
	@test -n "$(PYTHON)" || { echo "setup: Python 3.11 or later is needed (make PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) scripts/setup.py

demo: setup ## run the example jobs: a window over real flights, then one over a million rows
	@sh examples/demo.sh

demo-kafka: setup ## the same over topics of a broker of its own: a window, then joins and tables (needs Java 17 and Maven)
	@$(VENV)/python -m examples.kafka.demo

test: setup lint ## all checks: style, types, layers, and every test
	$(VENV)/python -m pytest -n $(PROCESSES) --dist worksteal -q

check: ## exactly what CI runs
	@sh .ci/run

lint: setup ## style, types and layers alone
	$(VENV)/python -m ruff check .
	$(VENV)/python -m ruff format --check .
	$(VENV)/python -m mypy
	$(VENV)/lint-imports

bench: setup ## measure, and write docs/benchmarks.md (half an hour; make bench QUICK=1: six minutes, without rows that fail)
	$(VENV)/python -m benchmarks $(if $(QUICK),--quick)
	$(VENV)/python -m benchmarks.small_ticks $(if $(QUICK),--rounds 5 --keys 10000)

bench-rows: setup ## what rows that fail cost the others, a part of make bench (make bench-rows QUICK=1: once, printed only)
	$(VENV)/python -m benchmarks.odd_rows $(if $(QUICK),--quick)

bench-ticks: setup ## what a tick of 100 rows costs where results change with every tick, a part of make bench (two minutes)
	$(VENV)/python -m benchmarks.small_ticks

bench-kafka: setup ## measure over Kafka beside its rivals, half an hour (make bench-kafka QUICK=1: some minutes)
	$(VENV)/python -m benchmarks.kafka $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(LIMIT),--minutes $(LIMIT))

bench-stopped: setup ## the memory of a job whose sink stands still for a minute while a million records wait
	$(VENV)/python -m benchmarks.kafka.stopped

fuzz: setup ## what the suite samples, then random queries, data, cuts and crashes: make fuzz SEED=1 MINUTES=5
	$(VENV)/python -m pytest -n $(PROCESSES) --dist worksteal -q --full --schedule-seed $(SEED) tests/sql tests/crash tests/unit tests/properties/test_levels.py tests/properties/test_operators.py
	$(VENV)/python -m tests.properties.fuzz --seed $(SEED) --minutes $(MINUTES)
	$(VENV)/python -m tests.properties.joins --seed $(SEED) --ticks 200

fuzz-sql: setup ## every function of the engine in random statements: make fuzz-sql FIRST=1 LAST=400
	$(VENV)/python -m tests.properties.statements --first $(FIRST) --last $(LAST)

chaos: setup ## jobs over a real broker, both killed at random: make chaos SEED=1 MINUTES=5
	$(VENV)/python -m tests.crash.chaos --seed $(SEED) --minutes $(MINUTES)

dist: setup ## build the wheel, into dist/
	$(VENV)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist

docs: setup ## write the reference pages from the registries, and the list of the engine's functions
	$(VENV)/python scripts/reference.py

lock: setup ## pin the newest versions that pyproject.toml allows in requirements.lock
	$(VENV)/python scripts/lock.py

clean: ## remove .venv and everything that was made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
