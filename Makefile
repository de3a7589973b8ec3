# Everything needs only make and a Python of 3.11 or newer; the rest is installed into .venv.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
# The newest interpreter that really starts (a version manager's shims may exist and refuse).
FIND_PYTHON = for p in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done

# uv installs in seconds what takes pip minutes; where it cannot (no build of it, packages that only pip's settings find), pip does.
INSTALL = sh deploy/install.sh $(PY)

.PHONY: help demo test lint docs bench beside gauntlet faults fuzz soak clean

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

$(VENV)/.base:
	@python="$$($(FIND_PYTHON))"; \
	if [ -z "$$python" ]; then echo "guardrail needs Python 3.11 or newer, with venv; none was found (try: make PYTHON=/path/to/python)" >&2; exit 1; fi; \
	"$$python" -m venv $(VENV)
	@touch $@

$(VENV)/.examples: $(VENV)/.base pyproject.toml
	@$(INSTALL) -e '.[examples]'
	@touch $@

$(VENV)/.test: $(VENV)/.base pyproject.toml
	@$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.examples

demo: $(VENV)/.examples ## the main job: a credit model on real applications, guarded
	@$(PY) -m examples.lending

lint: $(VENV)/.test ## style and types
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/basedpyright --level error >$(VENV)/basedpyright.log 2>&1 & other=$$!; \
	$(VENV)/bin/mypy; result=$$?; wait $$other || { cat $(VENV)/basedpyright.log; result=1; }; exit $$result

test: lint ## style, types and every test, on each Python from 3.11 to 3.13 that is installed
	@sh tests/other_pythons.sh prepare >/dev/null 2>&1 & prepared=$$!; \
	$(PY) -m pytest -q -n 2 --dist loadfile; result=$$?; wait $$prepared; exit $$result
	@sh tests/other_pythons.sh

docs: $(VENV)/.test ## the documentation as a site, in site/
	@$(VENV)/bin/mkdocs build --quiet --strict

bench: $(VENV)/.test ## what a call, its record, its delivery and its span cost, beside the same by hand, then what `beside` does
	@$(PY) -m benchmarks.call_path
	@$(PY) -m benchmarks.ledger
	@$(PY) -m benchmarks.delivery
	@$(PY) -m benchmarks.spans
	@$(PY) -m benchmarks.review
	@$(MAKE) --no-print-directory beside

beside: $(VENV)/.test ## CPU, memory, end and scaling beside each peer, each in its own environment; writes docs/beside.md
	@$(INSTALL) -e '.[bench]'
	@$(PY) -m benchmarks.beside --out docs/beside.md

gauntlet: $(VENV)/.test ## every case through guardrail and each peer, each in its own environment: about half an hour
	@$(INSTALL) -e '.[bench]'
	@$(PY) -m benchmarks.gauntlet --out docs/gauntlet.md

faults: $(VENV)/.test ## a thousand kills, power cuts, damage at every byte, a minute without the database: ten minutes and more
	@$(INSTALL) fusepy
	@TEST_FAULTS=1 LEDGER_MODEL_EXAMPLES=500 $(PY) -m pytest -q -o timeout=3600 tests/faults tests/ledger/test_ledger_model.py

fuzz: $(VENV)/.test ## every parser for a minute each, guided by the branches that an input takes (atheris)
	@$(INSTALL) atheris
	@$(PY) tests/fuzz 60

soak: $(VENV)/.test ## fifteen minutes of load while workers, Redis, PostgreSQL and sinks are killed, the disk fills, the clock jumps
	@$(PY) -m benchmarks.soak

clean: ## remove what was installed and made here
	@rm -rf $(VENV) .venv-* build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis .guardrail
