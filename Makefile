# Needs Python 3.11 or newer, pip, make and git. PYTHON chooses the interpreter:
#     make test PYTHON=python3.12
PYTHON ?= python3

BIN := .venv/bin
INSTALLED := .venv/installed
INTEGRATIONS := .venv-integrations

.DEFAULT_GOAL := help
.PHONY: help python install demo app test test-app test-integrations lint wheel bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "conjure-st needs Python 3.11 or newer, and this is %d.%d. Try make PYTHON=python3.11" \
	    % sys.version_info[:2])'

install: $(INSTALLED) ## Install into .venv: the pinned dependencies, this checkout, the tools

$(INSTALLED): pyproject.toml constraints.txt | python
	@echo "Installing into .venv. This takes a few minutes; PyTorch is the large part."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e ".[dev]"
	@touch $@

demo: install ## Score a few sentence pairs with the embedded model, offline, on the CPU
	TRANSFORMERS_VERBOSITY=error $(BIN)/python examples/demo.py

app: install ## Open the page to play with; ARGS="--port 8000 --model NAME" and others
	TRANSFORMERS_VERBOSITY=error $(BIN)/python examples/app.py $(ARGS)

test: install ## Run the tests; ARGS="-k name" picks some
	$(BIN)/pytest $(ARGS)

test-app: .venv/browser ## Use the page in a headless Chromium (.venv/bin/playwright install chromium)
	$(BIN)/pytest tests/test_app_browser.py $(ARGS)

.venv/browser: $(INSTALLED)
	$(BIN)/pip install -c constraints.txt -e ".[browser]"
	@touch $@

test-integrations: $(INTEGRATIONS)/installed ## Run LangChain, LlamaIndex, Haystack and others on it
	$(INTEGRATIONS)/bin/pytest integrations $(ARGS)

# Apart from .venv: their dependencies are many, and none of them is to be one of the tests'.
$(INTEGRATIONS)/installed: pyproject.toml constraints.txt integrations/constraints.txt | python
	$(PYTHON) -m venv $(INTEGRATIONS)
	$(INTEGRATIONS)/bin/pip install -c constraints.txt -c integrations/constraints.txt \
	    -e ".[integrations]"
	@touch $@

lint: install ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install ## Measure what scores cost, side by side, in half an hour; ARGS="--scale 0.1" less
	$(BIN)/python benchmarks/cost.py $(ARGS)

wheel: python ## Build the wheel, install it into an empty environment elsewhere, score a pair there
	rm -rf dist
	@set -eu; checkout=$$PWD; elsewhere=$$(mktemp -d); trap 'rm -rf "$$elsewhere"' EXIT; \
	$(PYTHON) -m venv "$$elsewhere/venv"; \
	"$$elsewhere/venv/bin/pip" wheel --quiet --no-deps --wheel-dir dist .; \
	wheel=$$(ls dist/*.whl); \
	echo "Built $$wheel, $$(($$(wc -c < "$$wheel") / 1000)) kB. Installing it in $$elsewhere"; \
	"$$elsewhere/venv/bin/pip" install --quiet -c constraints.txt "$$wheel"; \
	cd "$$elsewhere"; \
	HF_HUB_OFFLINE=1 venv/bin/conjure-st score "a cat" "a kitten" --json > score.json; \
	venv/bin/python -m json.tool score.json; \
	echo "The wheel scores a pair away from $$checkout."

clean: ## Remove what the other targets made
	rm -rf .venv $(INTEGRATIONS) dist .pytest_cache .mypy_cache .ruff_cache
