# make demo: train TDAC on Pendulum-v1, evaluate it, and leave model, curve and animation in logs/
# make test: all tests, ruff and mypy
# Each sets itself up: PYTHON makes the virtual environment, TORCH is the one constraint on what is
# installed in it. It is pinned because a bare `torch` may bring several GB of CUDA.
PYTHON ?= python3
TORCH ?= torch==2.13.0

VENV := .venv
INSTALLED := $(VENV)/installed

.PHONY: demo test clean

demo: $(INSTALLED)
	$(VENV)/bin/python examples/quickstart.py

test: $(INSTALLED)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest

$(INSTALLED): pyproject.toml Makefile hatch_build.py sb3_tdac/fast/kernels.c
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet "$(TORCH)" --editable ".[dev]"
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) logs
