# Everything that builds, checks and runs the project. `make help` explains each target.
#
# Needs Python 3.11 or newer, make, and package registries (those that pip is configured for: nothing here names one).

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN       := $(VENV)/bin
RUNTIME   := $(VENV)/.installed-runtime
DEV       := $(VENV)/.installed-dev
PIP       := $(BIN)/python -m pip --disable-pip-version-check --no-input
GENERATED := generated/connections generated/connections.binpb

export PYTHONPATH := .:generated
# grpcurl, where .ci/run put it
export PATH := $(CURDIR)/.cache/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help serve test demo-provider lint type gen bench lock clean
.DELETE_ON_ERROR:

help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  ARGS="..." is passed on by serve, test, demo-provider and bench; PYTHON=python3.12 chooses the interpreter.\n'

serve: $(RUNTIME) ## Start the service on 127.0.0.1:50051, with a Postgres of its own unless CONNECTIONS_DATABASE_URL is set
	@$(BIN)/connections serve $(ARGS)

# Two at a time: tests wait for processes and for Postgres half of their time, and more than two of them would leave
# the real servers that they start too little of a small machine. ARGS=-n0 runs them one by one.
test: lint type ## Run every check and every test, the same way as .ci/run
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

demo-provider: $(DEV) ## Start an OAuth 2 authorization server on 127.0.0.1:9000, for the tour in README.md
	@$(BIN)/python -m tests.support.oauth_server --demo --port 9000 $(ARGS)

lint: $(DEV) ## Check style, the contract's style and compatibility, and that generated code is up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/buf lint generated/connections.binpb
	@$(call in_temporary_directory, $(call generate,$$tmp) && \
	  diff --recursive --brief --exclude=__pycache__ --exclude=README.md --exclude='*.service_config.json' generated $$tmp \
	  || { echo 'generated/ differs from what proto/ gives: run `make gen` and commit the result' >&2; exit 1; })
	@$(call in_temporary_directory, $(call compare_with_main,$$tmp))

type: $(DEV) ## Check types
	$(BIN)/mypy

gen: $(DEV) ## Generate stubs and descriptor set from proto/ into generated/
	@$(call in_temporary_directory, $(call generate,$$tmp) && rm -rf $(GENERATED) && cp -R $$tmp/. generated/)

bench: $(DEV) ## Measure throughput and latency on this machine
	$(BIN)/python -m bench $(ARGS)

lock: $(DEV) ## Resolve the dependencies of pyproject.toml anew, keeping present pins that still fit (ARGS=--upgrade: do not)
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --group build --output-file requirements.lock $(ARGS) pyproject.toml
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --group dev --constraint requirements.lock --output-file requirements-dev.lock $(ARGS) pyproject.toml

clean: ## Remove what can be made again: the virtual environment and caches, not the data in .connections/
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find bench generated server tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Universal: one lock for every platform. Hashes without an index: pip takes the files from wherever it is configured to.
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# The stamps make installation happen only when a lock or pyproject.toml has changed.
$(RUNTIME): requirements.lock pyproject.toml
	$(call install,requirements.lock)
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $@

define install
	@command -v $(PYTHON) >/dev/null || { echo 'There is no $(PYTHON); install Python 3.11 or newer, or say `make PYTHON=...`.' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Say \`make PYTHON=...\`." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo '$(PYTHON) lacks the venv module (on Debian and Ubuntu: apt-get install python3-venv).' >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo 'Installing $(1) into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r $(1)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
endef

# $(call in_temporary_directory,COMMANDS): runs them with $$tmp naming a directory that is removed afterwards.
in_temporary_directory = tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(1)

# $(call generate,DIRECTORY): Google's own protos come from the googleapis-common-protos wheel. The order of the files is
# fixed, so that the descriptor set is the same on every machine.
generate = $(BIN)/python -m grpc_tools.protoc -I proto \
	-I $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	--python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) \
	--descriptor_set_out=$(1)/connections.binpb --include_imports --include_source_info \
	$$(cd proto && find connections -name '*.proto' | LC_ALL=C sort)

# $(call compare_with_main,DIRECTORY): the contract must stay compatible, on the wire and as JSON, with that of main.
compare_with_main = ref=$$(git rev-parse --verify --quiet origin/main || git rev-parse --verify --quiet main || true); \
	if [ -n "$$ref" ] && git cat-file -e "$$ref:generated/connections.binpb" 2>/dev/null; then \
	  git show "$$ref:generated/connections.binpb" > $(1)/main.binpb && \
	  echo "buf breaking against main ($$(git rev-parse --short "$$ref"))" && \
	  $(BIN)/buf breaking generated/connections.binpb --against $(1)/main.binpb; \
	else \
	  echo 'buf breaking: skipped, for there is no main with a contract to compare with'; \
	fi
