# make demo: train TDAC on Pendulum-v1, evaluate it, and leave model, curve and animation in logs/
# make test: all tests, ruff and mypy; one of the tests builds the site
# make docs: the site, from docs/ into docs/_build/index.html; a warning is an error
# make test-oldest: the tests on the oldest versions that pyproject.toml allows, without rl_zoo3, which
# needs newer ones; their tests say that they are skipped
# make wheel: into dist/, a source distribution, and a wheel with compiled kernels that PyPI takes for
# other Linux machines; installed in a new virtual environment, it must load them. Tried on Linux only
# Each sets itself up: PYTHON makes the virtual environment, TORCH is the one constraint on what is
# installed in it. It is pinned because a bare `torch` may bring several GB of CUDA.
PYTHON ?= python3
TORCH ?= torch==2.13.0

OLDEST := stable-baselines3==2.7.0 gymnasium==1.1.0 numpy==1.26.0

VENV := .venv
INSTALLED := $(VENV)/installed
# Two processes share the tests. A test marked serial measures time, counts processes or starts a
# server: it runs afterwards, alone.
PARALLEL := -n 2 --dist worksteal -m "not serial"
OLDEST_VENV := .venv-oldest
OLDEST_INSTALLED := $(OLDEST_VENV)/installed
WHEEL_VENV := .venv-wheel
SOURCES := pyproject.toml Makefile hatch_build.py $(wildcard sb3_tdac/fast/*.[ch])

.PHONY: demo docs test test-oldest wheel clean

demo: $(INSTALLED)
	$(VENV)/bin/python examples/quickstart.py

docs: $(INSTALLED)
	$(VENV)/bin/sphinx-build -W --keep-going docs docs/_build

test test-oldest: export OMP_NUM_THREADS := 1

test: $(INSTALLED)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest $(PARALLEL)
	$(VENV)/bin/pytest -m serial

test-oldest: $(OLDEST_INSTALLED)
	$(OLDEST_VENV)/bin/pytest --doctest-ignore-import-errors -rs $(PARALLEL)
	$(OLDEST_VENV)/bin/pytest --doctest-ignore-import-errors -rs -m serial

wheel: $(INSTALLED)
	rm -rf dist $(WHEEL_VENV)
	$(VENV)/bin/python -m build --outdir dist
	PATH="$(VENV)/bin:$$PATH" $(VENV)/bin/auditwheel repair --wheel-dir dist dist/*-linux_*.whl
	rm dist/*-linux_*.whl
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip install --quiet "$(TORCH)" dist/*-manylinux_*.whl
	$(WHEEL_VENV)/bin/python -I -c 'from sb3_tdac.fast import library as it; \
		assert isinstance(it.load(), it.Kernels), it.load(); print("The kernels load from", it.FOLDER)'

$(INSTALLED): $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet "$(TORCH)" --editable ".[dev]"
	touch $(INSTALLED)

$(OLDEST_INSTALLED): $(SOURCES)
	$(PYTHON) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST_VENV)/bin/python -m pip install --quiet "$(TORCH)" $(OLDEST) --editable ".[test]"
	touch $(OLDEST_INSTALLED)

clean:
	rm -rf $(VENV) $(OLDEST_VENV) $(WHEEL_VENV) dist docs/_build logs
