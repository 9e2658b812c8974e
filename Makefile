# Everything a newcomer, CI and a reviewer run. Needed: Python 3.11 or newer with venv, make and a package index.

UV     := uv==0.13.9
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := .venv/bin
SETUP  := .venv/installed
CLI    := $(BIN)/python -m app.cli
DEV    := $(BIN)/python -m app.demo
KEEP   ?=
FOR    ?= 1800
SEED   ?= 7

# Subprocesses start twice as fast from cached bytecode, so an environment that forbids it is overruled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check lint openapi bench burst crash chaos lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(SETUP) ## walk the reviewer plan on this machine; KEEP=1 stays up afterwards
	$(DEV) demo $(if $(KEEP),--keep)

test: lint ## everything CI runs
	$(BIN)/pytest -n 5 --dist worksteal

check: $(SETUP) ## the tests that need no server, mypy, and ruff on changed files: takes seconds
	@changed="$$(git diff --name-only --diff-filter=d HEAD -- '*.py'; git ls-files --others --exclude-standard -- '*.py')"; \
	test -z "$$changed" || { $(BIN)/ruff check $$changed && $(BIN)/ruff format --check $$changed; }
	@$(BIN)/mypy & lint=$$!; $(BIN)/pytest --pure -q --hypothesis-profile=quick; rules=$$?; wait $$lint && exit $$rules

lint: $(SETUP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

openapi: $(SETUP) ## write openapi/openapi.json as the app generates it
	@mkdir -p openapi
	$(CLI) openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json

bench: $(SETUP) ## measure the hot routes against their floors; writes var/bench.json
	$(DEV) bench

burst: $(SETUP) ## measure 5,000 RSVPs at once against Zoom's limits; writes var/burst.json
	$(DEV) burst

crash: $(SETUP) ## kill and freeze a worker at every boundary of every scenario
	$(BIN)/pytest -n 5 --dist worksteal tests/scenarios/crash_points --every-boundary

chaos: $(SETUP) ## run under faults for FOR=1800 seconds with SEED=7, then compare; writes var/chaos.json
	$(DEV) chaos --for $(FOR) --seed $(SEED)

lock: $(SETUP) ## resolve the dependencies of pyproject.toml again
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url -q \
		--extra test --extra demo -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url -q \
		-o requirements-prod.lock

clean: ## remove the virtual environment, the caches and the files that runs wrote
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# uv is the faster installer. Where it is not available, or does not know the package index that pip is set up for, pip is
# used. The project itself is installed editable, for its two commands: kindryn-zoom and kindryn-zoom-dev.
$(SETUP): requirements.lock
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up .venv from requirements.lock (once; some seconds, with a slow package index a minute or two)"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install -q $(UV) && $(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes $< || \
		$(BIN)/python -m pip install -q --require-hashes -r $<
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e . || $(BIN)/python -m pip install -q --no-deps -e .
	@touch $@
