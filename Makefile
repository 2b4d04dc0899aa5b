# Everything sets itself up from the lock file; only Python 3.11 (or newer) and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A spinning OpenMP thread on a shared core costs more than it gains.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo serve dagster test test-mlflow explore bench-features bench-shap bench-gates faults bench-swap bench-training coverage lint format clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(READY): uv.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv sync --locked --active --inexact --quiet
	@touch $@

setup: $(READY) ## Make the environment from the lock file

demo: $(READY) ## The whole way on real flights: ingest, replay a week, look up, explain, query, roll back
	@$(BIN)/foretable demo flights $(if $(SERVE),--serve)

serve: $(READY) ## Serve lookups over HTTP
	@$(BIN)/foretable serve

dagster: $(READY) ## Open the Dagster UI on this workspace
	@$(BIN)/foretable dagster

test: $(READY) ## Run every test
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-mlflow: $(READY) ## Run the long tests with MLflow: kills, slow servers, processes of their own
	@$(BIN)/python -m pytest -q tests/tracking/test_mlflow.py tests/tracking/mlflow_long.py

explore: $(READY) ## Run the property tests on examples never tried before
	@$(BIN)/python -m pytest -q --hypothesis-profile=explore -m hypothesis

bench-features: $(READY) ## Measure as-of joins against Feast's own store and bare DuckDB
	@$(BIN)/python benchmarks/features.py

bench-shap: $(READY) ## Measure exact contributions beside XGBoost's own
	@$(BIN)/python benchmarks/shap.py

bench-gates: $(READY) ## Plant faults into real flights, and count false alarms over sixty honest days
	@$(BIN)/python benchmarks/gates.py

faults: $(READY) ## Hurt a store in every way there is and count what is lost: the long form
	@$(BIN)/python benchmarks/faults.py

bench-swap: $(READY) ## Measure a flip beside 10 thousand, 1 million and 10 million entities
	@$(BIN)/python benchmarks/swap.py

bench-training: $(READY) ## Measure what the search is worth against fixed windows and an exhaustive grid
	@$(BIN)/python benchmarks/training.py

coverage: $(READY) ## Branch coverage of the store by its own tests; all of it or it fails
	@$(BIN)/coverage run -m pytest -q tests/store tests/faults
	@$(BIN)/coverage report

lint: $(READY) ## Style, types and import directions
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## Rewrite files in the house style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean: ## Remove what runs have made; the environment stays
	rm -rf data store .dagster
