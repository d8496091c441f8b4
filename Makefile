# One verb per need. CI calls only these.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := core[testing,enrichment,training,tracing] models networks[runtime] streams services/connectors services/processors services/indexer services/notifier cli simulator deploy/local
SOURCES := core models networks streams services cli simulator deploy schemas/generate tests benchmarks
READY := $(VENV)/.ready

.PHONY: help
help: ## Explain every verb
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(READY) ## Make .venv and install every package in it

$(READY): constraints.txt $(wildcard */pyproject.toml services/*/pyproject.toml deploy/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "klingel needs Python 3.11 or newer; name one with PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt $(foreach package,$(PACKAGES),-e $(package)) -r requirements-dev.txt
	@touch $@

.PHONY: up
up: setup ## Start the real Kafka and Elasticsearch on this machine
	$(BIN)/python -m klingel_local up

.PHONY: down
down: setup ## Stop them
	$(BIN)/python -m klingel_local down

.PHONY: status
status: setup ## Say whether they run, and where
	$(BIN)/python -m klingel_local status

.PHONY: demo
demo: setup ## Ring: everything from nothing to a live board (CHECK=1, INPUT=FILE…, NETWORK=bluesky)
	$(BIN)/klingel demo $(if $(CHECK),--check) $(foreach file,$(INPUT),--input $(file)) $(if $(NETWORK),--network $(NETWORK))

.PHONY: fmt
fmt: setup ## Format the code
	$(BIN)/ruff format $(wildcard $(SOURCES))
	$(BIN)/ruff check --fix $(wildcard $(SOURCES))

.PHONY: lint
lint: setup ## Lint and check the format
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/ruff check $(wildcard $(SOURCES))

.PHONY: types
types: setup ## Check the types
	$(BIN)/mypy -p klingel -p klingel_models -p klingel_networks -p klingel_streams -p klingel_connectors -p klingel_processors -p klingel_indexer -p klingel_notifier -p klingel_cli -p klingel_simulator -p klingel_local

.PHONY: imports
imports: setup ## Check who may import whom
	$(BIN)/lint-imports

.PHONY: generate
generate: setup ## Write what derives from schemas/
	$(BIN)/python schemas/generate

.PHONY: check-generated
check-generated: setup ## Fail when generated files lag
	$(BIN)/python schemas/generate --check

.PHONY: unit
unit: setup ## Run the tests that need no servers and little time
	$(BIN)/python -m pytest -m "not servers and not faults and not browser and not images and not exhaustive" -n auto --dist loadfile

.PHONY: exhaustive
exhaustive: setup ## Run those that need no servers and a second or more each
	$(BIN)/python -m pytest -m "exhaustive and not servers" -n auto

.PHONY: check
check: lint types imports check-generated unit ## The gate: everything without servers, under two minutes

.PHONY: k8s-check
k8s-check: setup ## Build every combination of deploy/k8s and check it, without a cluster
	$(BIN)/python -m tests.k8s

.PHONY: test
test: check exhaustive k8s-check ## Everything that needs no Docker
	$(BIN)/python -m pytest -m "servers or faults or images or browser"

.PHONY: test-all
test-all: check check-model ## `test` on both Elasticsearch versions, the model anew, the long fault run
	KLINGEL_LOCAL_ES=8 $(BIN)/python -m pytest -m servers
	KLINGEL_LOCAL_ES=9 $(BIN)/python -m pytest -m servers
	$(MAKE) test-faults

.PHONY: test-browser
test-browser: setup ## The chat's page in a real browser (Debian's chromium-headless-shell)
	$(BIN)/python -m pytest -m browser

.PHONY: test-faults
test-faults: setup ## Kill and freeze every process while 30,000 events ring
	$(BIN)/python -m pytest tests/faults -m faults --long-faults -rP

BENCHES := \
	"enrichment.py --data ../shared/data" \
	clocks.py \
	stages.py \
	care.py \
	early_warning.py \
	watch.py \
	x_mapping.py \
	webhook_mapping.py \
	mails.py \
	feeds.py \
	gateway.py \
	pipeline.py

.PHONY: bench
bench: setup ## Measure what the README claims; all of it, then fail where a gate was missed
	@failed=(); \
	for each in $(BENCHES); do \
		echo "== benchmarks/$$each"; \
		$(BIN)/python benchmarks/$$each || failed+=("$$each"); \
	done; \
	if (( $${#failed[@]} )); then printf 'missed, or not to be measured: benchmarks/%s\n' "$${failed[@]}" >&2; exit 1; fi

.PHONY: quality
quality: setup ## Measure what is found in texts: models, languages, personal data, copies, rules
	$(BIN)/python benchmarks/quality.py

.PHONY: check-model
check-model: setup ## Fail when the shipped model is not what its recipe makes
	$(BIN)/python -m klingel_models.recipe --data ../shared/data --output $(VENV)/rebuilt.klm
	cmp $(VENV)/rebuilt.klm models/src/klingel_models/care/model.klm

.PHONY: clean
clean: ## Remove what was built and the local state; not the download cache
	-$(BIN)/python -m klingel_local wipe
	rm -rf $(VENV) .klingel
