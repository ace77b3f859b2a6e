# The face of the repository. Everything is done by the scripts in bin/ and by manage.py.
.DEFAULT_GOAL := help
.PHONY: help serve test lint unit e2e e2e-full contract contract-all e2e-postgres chaos chaos-full test-environment pins

python := .venv/bin/python

# Where this is set, every process compiles everything that it imports, which is most of what a start costs.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 16

# exec: make passes SIGTERM on to its child, and that is then the server itself.
serve: ## set up and run Kumos on http://127.0.0.1:3000 (HOST, PORT, KUMOS_DATA_DIR, …: docs/settings.md)
	@bin/environment requirements.txt
	@exec $(python) manage.py serve

# Without the long forms, and what `e2e-postgres` runs once more: together they take twice the half hour of this.
test: lint unit e2e contract ## set up and run every check and the tests but those of chaos

lint unit e2e e2e-full contract contract-all e2e-postgres chaos chaos-full: export KUMOS_DATA_DIR := $(CURDIR)/data/tests

test-environment:
	@bin/environment requirements-test.txt
	@bin/system-packages

# On SQLite or on PostgreSQL with Redis (tests/lanes.py). Every worker waits for a disk or a server a good part of its
# time: one more of them than there are cores, up to eight; two more where what is tested waits by itself. None of these
# tests takes the power away, so nobody waits for the disk, where the system has eatmydata; those of chaos do.
spare = 1
e2e e2e-postgres contract: spare = 2
pytest_on = $$(command -v eatmydata) $(python) -m pytest --numprocesses=$$(($$(nproc) < 8 ? $$(nproc) + $(spare) : 8)) --dist=worksteal --database

lint: test-environment ## style, types and migrations only
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy .
	$(python) manage.py makemigrations --check --dry-run

unit: test-environment ## the tests that start no server
	$(pytest_on)=sqlite -m "not e2e and not browser and not contract and not chaos and not slow"
	$(pytest_on)=postgres -m "not e2e and not browser and not contract and not chaos and not slow"

# A call of its own: Playwright leaves a running event loop behind, and Django refuses its ORM beside one.
e2e: test-environment ## the tests that drive a served Kumos, over HTTP and in Chromium
	$(pytest_on)=sqlite -m "(e2e or browser) and not slow"

e2e-full: test-environment ## the long forms of some of them: all screens, 1,000 cuts, 500 documents
	$(pytest_on)=sqlite -m "(e2e or browser) and slow"

e2e-postgres: test-environment ## the tests of `e2e` on PostgreSQL and Redis
	$(pytest_on)=postgres -m "(e2e or browser) and not slow"

# What a version of an SDK sends and what a database answers have nothing to do with each other.
contract: test-environment ## the newest of the official SDKs against a served Kumos, on PostgreSQL
	@bin/sdks
	$(pytest_on)=postgres -m contract --dist=loadgroup

contract-all: test-environment ## every version of them, on SQLite
	@bin/sdks
	$(pytest_on)=sqlite -m contract --dist=loadgroup

chaos: test-environment ## kill, stop and cut real processes, and check what their clients saw: the short forms
	$(python) -m pytest -m "chaos and not slow" --numprocesses=2 --dist=worksteal

chaos-full: test-environment ## the full forms, for hours; their table is data/tests/chaos/report.jsonl
	$(python) -m pytest -m "chaos and slow" -o faulthandler_timeout=0

pins: ## write the requirements files from pyproject.toml (UPGRADE=1: newest versions)
	@bin/environment requirements-uv.txt
	@bin/pins
