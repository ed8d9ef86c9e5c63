# `make demo` trains MPCC on handwritten digits, `make test` runs the tests; both set up .venv from nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
VARIANT ?= extended
AOT ?=
PYTEST := -m pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-lowest test-newest test-faults lint docs benchmark aot aot-test clean

demo: $(VENV)/installed
	$(BIN)/python launch.py --config configs/digits.py --config.variant=$(VARIANT) --config.seed=$(SEED)

test: $(VENV)/installed-test
	$(BIN)/python $(PYTEST)

# With the lowest versions that pyproject.toml allows, and with the newest that there are; PYTHON=python3.13 is another.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest:
	$(PYTHON) -m venv --clear .cache/$@
	.cache/$@/bin/python -m pip install --quiet --disable-pip-version-check uv
	.cache/$@/bin/uv pip install --quiet --python .cache/$@/bin/python --resolution $(RESOLUTION) -r pyproject.toml --extra test
	.cache/$@/bin/uv pip freeze --quiet --python .cache/$@/bin/python
	.cache/$@/bin/python $(PYTEST)

# Twenty rounds of kills and full disks while a checkpoint is saved, and 100 000 mutated pictures.
test-faults: $(VENV)/installed-test
	FAULT_ROUNDS=20 $(BIN)/python -m pytest tests/training/test_faults.py
	$(BIN)/python -m tests.data.fuzz_pictures 100000 1

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

docs: $(VENV)/installed-docs
	$(BIN)/python -m reproduce.markdown
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "written: .cache/site/index.html"

benchmark: $(VENV)/installed
	$(BIN)/python -m benchmarks.throughput --configs=mnist --precisions=float32 --num_seeds=1 --out=.cache/throughput.json

# What the TPU's compiler says of training, on a machine without a TPU; aot-test of a tiny network.
aot-test: AOT := --configs=digits --tiny --out=.cache/aot_test.json
aot-test: aot
aot:
	$(PYTHON) -m venv .cache/aot
	.cache/aot/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-tpu.txt
	.cache/aot/bin/python -m benchmarks.aot $(AOT)

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

$(VENV)/installed-docs: $(VENV)/installed requirements-docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache
