# Everything happens in .venv at this folder; `make help` lists what there is.
SHELL := /bin/bash
BIN := .venv/bin
# Compiled modules are kept: each worker, server and command of the tests would compile all of them again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
VENV := .venv/.made
READY := .venv/.ready
LOCKS := requirements.lock tests/requirements.lock
# For any platform and for Python 3.11 and newer, with the same versions on all of them as far as they exist.
COMPILE = .venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --upgrade --custom-compile-command "make lock"
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help demo run test fast check bench lint lock audit hooks clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

demo: $(READY)  ## everything with no accounts: sandbox, runner and pages, already connected
	@exec $(BIN)/python -m tests.demo

run: $(READY)  ## the pages and the runner, for real accounts
	@exec $(BIN)/python -m sync.launcher Procfile "$${STREAMLIT_SERVER_PORT:-8501}"

test: $(READY)  ## every test, several at once; the browser tests skip without Chromium
	@$(PYTEST) -n auto -rfEs -q $(ARGS); code=$$?; \
	echo "Skipped tests are listed above with their reason; the browser tests need Chromium (apt-get install chromium, or CHROMIUM=/path/to/it)."; \
	exit $$code

fast: $(READY)  ## the tests that are not slow: no browser, no drill
	@exec $(PYTEST) -n auto -q -m "not slow" $(ARGS)

check: $(READY)  ## lint and the fast tests at the same time; before each commit
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	$(MAKE) --no-print-directory lint >"$$log" 2>&1 & lint=$$!; \
	tests=0; $(MAKE) --no-print-directory fast || tests=$$?; \
	code=0; wait $$lint || code=$$?; cat "$$log"; \
	exit $$(( tests ? tests : code ))

bench: $(READY)  ## the benchmarks
	@exec $(BIN)/python -m tests.bench $(ARGS)

lint: $(READY)  ## style, types and security
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m tests.docstrings
	$(BIN)/python -m mypy --strict --explicit-package-bases sync app.py pages
	$(BIN)/python -m bandit -q -r -c pyproject.toml sync $(wildcard app.py pages)

lock: $(VENV)  ## renew requirements.lock and tests/requirements.lock from the ranges in requirements.txt
	@$(BIN)/python -m venv .venv/lock && .venv/lock/bin/pip install --quiet --disable-pip-version-check uv
	@$(COMPILE) requirements.txt --output-file requirements.lock
	@$(COMPILE) tests/requirements.txt --constraint requirements.lock --output-file tests/requirements.lock

audit: $(VENV)  ## known vulnerabilities of what the locks pin; fails too when the advisories cannot be reached
	@$(BIN)/python -m venv .venv/audit && .venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	@.venv/audit/bin/pip-audit --strict --disable-pip --require-hashes $(LOCKS:%=-r %)

hooks: $(READY)  ## let git run the checks of .pre-commit-config.yaml before each commit
	@$(BIN)/python -m pre_commit install

clean:  ## remove .venv, caches and the demo's data; never data/app.db
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis data/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Python may be replaced by another version under .venv, which then has none of the packages; looked at each time.
WORKS = $(BIN)/python -c 'import sys, importlib.util as find; \
	sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix or find.find_spec("pip") is None)' 2>/dev/null
$(if $(wildcard $(VENV)),$(shell $(WORKS) || rm -f $(VENV) $(READY)))

# A python that only looks installed (a version manager's stub) does not pass the check.
$(VENV): $(LOCKS)
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Cohort Sync needs Python 3.11 or newer with its venv module, and none was found; please install it." >&2; exit 1; fi; \
	if ! $(WORKS); then rm -rf .venv; "$$found" -m venv .venv; fi
	@touch $@

# Exactly what the locks name, and only files with their hashes.
$(READY): $(LOCKS) | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes $(LOCKS:%=-r %)
	@touch $@
