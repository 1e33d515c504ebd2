# make demo   detect objects on photographs of the installed libraries with the weights that ship
# make test   lint, then every test, the slow ones too
# Each target sets up what it needs in .venv; the second call finds it ready.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=
# "fast", the OpenVINO engine: 70 MB of downloads beside TensorFlow's 250, and the only way its
# tests run. EXTRAS="aug dev" leaves it out; everything then runs on Keras.
EXTRAS ?= aug dev fast

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test fast lint format setup clean

demo: $(READY)
	$(BIN)/mrcnn demo --output demo_output

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

fast: $(READY)
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(READY)

# The ready file is written last, so a set-up that broke off is taken up again.
$(READY): pyproject.toml setup.py tools/requirements.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "mrcnn needs Python 3.10 to 3.13: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "no venv module: install your system's python3-venv package"; exit 1; }
	$(BIN)/python tools/requirements.py $(EXTRAS) > $(VENV)/requirements.txt
	$(BIN)/pip install --quiet -r $(VENV)/requirements.txt
	$(BIN)/pip install --quiet --no-deps imgaug -e .
	@touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info demo_output .pytest_cache .ruff_cache
	find mrcnn tests samples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
