# Every target makes the environment first: .venv, from requirements.lock, with uv (bootstrapped by pip if missing).
# A Python 3.11 or 3.12 on the machine is used; `make demo PYTHON=/path/to/python3.12` names one.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
# Where Python is told to keep no compiled files, each of the many processes would compile torch anew, for 6 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: env demo pictures reference notebook test test-all check bench lock clean help

help:
	@echo "make demo      the embedded comparison: no network, two minutes; opens as runs/demo/report.html"
	@echo "make pictures  the README's pictures, from the demo"
	@echo "make reference docs/config.md, commands.md and python.md, from the code"
	@echo "make notebook  docs/first_comparison.ipynb, run from top to bottom"
	@echo "make test      all quick tests"
	@echo "make test-all  the long ones too"
	@echo "make check     formatting, lint, types, floors"
	@echo "make bench     every benchmark"
	@echo "make env       only the environment (.venv)"
	@echo "make lock      resolve the dependencies anew into requirements.lock"

env: $(READY)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 was found; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@command -v uv >/dev/null 2>&1 || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	$$uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
	$$uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: env
	$(BIN)/ventral run demo --set executor.workers=2

pictures: demo
	$(BIN)/python docs/make_pictures.py runs/demo

reference: env
	$(BIN)/python docs/make_reference.py

notebook: env
	$(BIN)/python docs/make_notebook.py

test: env
	$(PYTEST) --cov --cov-report=term:skip-covered -m "not slow"

test-all: env
	$(PYTEST) --cov --cov-report=term:skip-covered

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: env
	$(BIN)/python benchmarks/all.py --json docs/benchmarks.json --table docs/benchmarks.md --readme README.md

lock: env
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	$$uv export --quiet --python $(BIN)/python --all-groups --no-emit-project --no-annotate --no-header \
		--format requirements-txt --upgrade --output-file requirements.lock >/dev/null && rm -f uv.lock

clean:
	rm -rf $(VENV) runs .coverage
