# make quickstart   from nothing to a chat model
# make test         everything that is checked on every change
# make test-all     the same and what needs services of the system
# make gpu          what needs a GPU: its tests, then the table of speeds of docs/speed.md

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  := 2.13.0
PYTEST ?=
# Several processes of tests share the processors: threads that wait for each other there take many times as long.
THREADS := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

.PHONY: quickstart install test test-all gpu check clean
.DELETE_ON_ERROR:

quickstart: install
	$(BIN)/moinho run configs/quickstart.toml

install: $(VENV)/installed

test: $(VENV)/installed-tests check
	$(THREADS) $(BIN)/python -m pytest -m "not everything and not gpu" -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-all: $(VENV)/installed-tests check
	infra/install-test-services.sh
	MOINHO_REQUIRE_SERVICES=1 $(BIN)/python -m pytest -m "not gpu" $(PYTEST)

gpu: $(VENV)/installed-tests
	$(BIN)/python -m pip install --quiet --editable '.[gpu]'
	$(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python -m tests.gpu.table --out gpu-table

check: $(VENV)/installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# torch first and by itself: whichever build is there satisfies everything that follows.
$(VENV)/torch: $(BIN)/python infra/install-torch.sh
	infra/install-torch.sh $(BIN) $(TORCH)
	touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-tests: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@
