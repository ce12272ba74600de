# Everything happens in .venv at this folder; `make help` lists what there is.
SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/.ready
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help demo run test bench lint audit clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

demo: $(READY)  ## everything with no accounts: sandbox, runner and pages, already connected
	@exec $(BIN)/python -m tests.demo

run: $(READY)  ## the pages and the runner, for real accounts
	@exec $(BIN)/honcho -f Procfile start

test: $(READY)  ## every test; the browser tests skip without Chromium
	@$(BIN)/python -m pytest -rs -q $(ARGS); code=$$?; \
	echo "Skipped tests are listed above with their reason; the browser tests need Chromium (apt-get install chromium, or CHROMIUM=/path/to/it)."; \
	exit $$code

bench: $(READY)  ## the benchmarks
	@exec $(BIN)/python -m tests.bench $(ARGS)

lint: $(READY)  ## style, types and security
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict --explicit-package-bases sync app.py pages
	$(BIN)/bandit -q -r -c pyproject.toml sync $(wildcard app.py pages)

audit: $(READY)  ## known vulnerabilities of what is installed; fails too when the advisories cannot be reached
	@$(BIN)/python -m venv .venv/audit && .venv/audit/bin/pip install --quiet pip-audit
	@$(BIN)/python -m pip freeze > .venv/audit/pins.txt
	@.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r .venv/audit/pins.txt

clean:  ## remove .venv, caches and the demo's data; never data/app.db
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis data/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A python that only looks installed (a version manager's stub) does not pass the check.
$(READY): requirements.txt tests/requirements.txt
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Cohort Sync needs Python 3.11 or newer with its venv module, and none was found; please install it." >&2; exit 1; fi; \
	if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then rm -rf .venv; "$$found" -m venv .venv; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@touch $@
