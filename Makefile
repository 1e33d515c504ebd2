# make demo         detect objects on photographs of the installed libraries with the weights that ship
# make test         lint, then the tests, the slow ones too; without those of `long`
# make test-all     every test
# make docs         the site of the documentation in site/, and every warning is an error
# make test-oldest  the fast tests with the lower bound of every requirement on the oldest Python
# make test-newest  the fast tests with the newest release of everything on the newest Python
# make serve-image  the steps of the Dockerfile without Docker, and a request to the server
# make test-jax     the tests of layers, graphs and models on JAX; also test-torch
# Each target sets up what it needs in .venv*; the second call finds it ready.

PYTHON ?= python3
PYTHON_OLDEST ?= python3.10
PYTHON_NEWEST ?= python3.13
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Further environments, .venv-NAME each.
OTHERS := oldest newest jax torch docs
PYTEST_ARGS ?=
# Processes that share the tests, file by file; 0: in one.
JOBS ?= 2
PYTEST = python -m pytest -n $(JOBS) --dist loadfile
# TensorFlow keeps some memory of every graph that it has trained: in two rounds it is less.
FIRST_ROUND := tests/docs tests/exports tests/family tests/refinement tests/samples tests/training
# What depends on the backend. The rest of the package uses NumPy or the model alone.
BACKEND_TESTS := tests/layers tests/parity tests/test_graphs.py tests/test_model.py \
  tests/test_saved_models.py
# "fast", the OpenVINO engine: 70 MB of downloads beside TensorFlow's 250, and the only way its
# tests run. EXTRAS="aug dev" leaves it out; everything then runs on Keras.
EXTRAS ?= aug dev fast docs export family

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-all fast docs serve-image test-oldest test-newest test-jax test-torch lint format setup clean

demo: $(READY)
	$(BIN)/mrcnn demo --output demo_output

test: CHOICE := -m "not long"
test test-all: lint
ifeq ($(PYTEST_ARGS),)
	$(BIN)/$(PYTEST) $(CHOICE) $(FIRST_ROUND)
	$(BIN)/$(PYTEST) $(CHOICE) $(FIRST_ROUND:%=--ignore=%)
else
	$(BIN)/$(PYTEST) $(CHOICE) $(PYTEST_ARGS)
endif

fast: $(READY)
	$(BIN)/$(PYTEST) -m "not slow" $(PYTEST_ARGS)

serve-image: $(READY)
	rm -rf build/serve-image
	$(BIN)/python tools/dockerfile_steps.py build/serve-image

# No network is needed to read the site: it loads nothing from elsewhere.
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict

test-oldest test-newest: test-%: .venv-%/.ready
	.venv-$*/bin/$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-jax test-torch: test-%: .venv-%/.ready
	KERAS_BACKEND=$* .venv-$*/bin/$(PYTEST) -m "not slow" $(BACKEND_TESTS) $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(READY)

# The ready file is written last, so an interrupted set-up is repeated.
$(READY): pyproject.toml setup.py tools/requirements.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "mrcnn needs Python 3.10 to 3.13: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "no venv module: install your system's python3-venv package"; exit 1; }
	$(BIN)/python tools/requirements.py $(EXTRAS) > $(VENV)/requirements.txt
	@echo "Installing packages (about 3 GB on the disk): this takes several minutes"
	$(BIN)/pip install --quiet -r $(VENV)/requirements.txt
	$(BIN)/pip install --quiet --no-deps imgaug -e .
	@touch $(READY)

# What each of the other environments is made of: the Python, and what tools/requirements.py prints.
SETUP_PYTHON = $(PYTHON)
.venv-oldest/.ready: SETUP_PYTHON = $(PYTHON_OLDEST)
.venv-oldest/.ready: WANTED = --oldest aug dev fast tensorboard
.venv-newest/.ready: SETUP_PYTHON = $(PYTHON_NEWEST)
.venv-newest/.ready: WANTED = aug dev fast tensorboard
.venv-jax/.ready: WANTED = aug dev jax
.venv-torch/.ready: WANTED = aug dev torch
.venv-docs/.ready: WANTED = docs
$(OTHERS:%=.venv-%/.ready): .venv-%/.ready: pyproject.toml setup.py tools/requirements.py
	rm -rf .venv-$*
	$(SETUP_PYTHON) -m venv .venv-$*
	.venv-$*/bin/python tools/requirements.py $(WANTED) > .venv-$*/requirements.txt
	@echo "Installing packages (up to 4 GB on the disk): this takes several minutes"
	.venv-$*/bin/pip install --quiet -r .venv-$*/requirements.txt
	.venv-$*/bin/pip install --quiet --no-deps imgaug -e .
	@touch $@

clean:
	rm -rf $(VENV) $(OTHERS:%=.venv-%) build dist site *.egg-info demo_output
	rm -rf .pytest_cache .ruff_cache .mypy_cache
	find mrcnn tests samples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
