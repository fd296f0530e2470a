# Everything starts from a plain Python 3.11 to 3.13 and a network to the package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := uv==0.13.9
JOBS ?= 2

.PHONY: demo test test-slow test-pgstac test-slurm test-hosts check format bench lock clean help

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "icemapper_xr needs Python 3.11 to 3.13, this is %d.%d; name another: make PYTHON=python3.12" % v)'
	@test -x $(BIN)/python || { echo "making the environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the locked packages (about 1 GB the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## Simulate a scene, map it in two years, compare with the truth (no network)
	@$(BIN)/icemapper demo

test: $(READY)  ## Run the quick tests, JOBS at a time
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal

test-slow: $(READY)  ## Run the tests that take longer
	$(BIN)/pytest -m slow

PGSTAC := $(VENV)-pgstac
$(PGSTAC)/.ready:
	@$(PYTHON) -m venv $(PGSTAC)
	@$(PGSTAC)/bin/python -m pip install --quiet --disable-pip-version-check \
	  "stac-fastapi-pgstac==7.2.0" "pypgstac[psycopg]==0.10.0" "uvicorn==0.54.0"
	@touch $@

test-pgstac: $(READY) $(PGSTAC)/.ready  ## Test against a STAC API on PostgreSQL (Debian packages; installed if root)
	ICEMAPPER_PGSTAC=$(PGSTAC)/bin/python $(BIN)/pytest -m further tests/further/test_pgstac.py

test-slurm: $(READY)  ## Test on SLURM, two workers with made-up GPUs (Debian packages; root only)
	$(BIN)/pytest -m further tests/further/test_slurm.py

test-hosts: $(READY)  ## Test on workers in network namespaces, one of which is cut off (root only)
	$(BIN)/pytest -m further tests/further/test_hosts.py

check: $(READY)  ## Lint, format check, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Run the benchmarks on the installed package
	cd benchmarks && ../$(BIN)/asv run --python=same --quick --show-stderr

lock:  ## Resolve the dependencies anew
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra dev --extra openvino \
	  pyproject.toml -o requirements.lock --quiet --custom-compile-command "make lock"

clean:  ## Remove the environment and what the tools left
	rm -rf $(VENV) $(PGSTAC) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo
