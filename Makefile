# make demo and make test do all of their own set-up on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESTED := OMP_WAIT_POLICY=PASSIVE OPENBLAS_THREAD_TIMEOUT=4  # as the command line sets them

.PHONY: setup demo test check bench docs clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/whichlandmark demo demo/

# On all cores; make test JOBS=1 runs one test after the other, TESTS=tests/gallery a part of them.
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
TESTS ?= tests

test: $(READY)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(TESTS)

check: $(READY)
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy

# One file per question; benchmarks/LOG.md keeps what they printed and when.
# PHOTOS=folder (see benchmarks/real_photos.py) adds the measurement on real photos.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/drawn_speed.py
	$(BIN)/python benchmarks/decode_speed.py
	$(BIN)/python benchmarks/embed_speed.py
	$(BIN)/python benchmarks/end_to_end.py
	$(RESTED) $(BIN)/python benchmarks/search_speed.py
	$(RESTED) $(BIN)/python benchmarks/search_speed.py --crossover
	$(BIN)/python benchmarks/cold_start.py build/bench
	$(RESTED) $(BIN)/python benchmarks/gldv2_scale.py --sizes 10000,100000
	$(if $(PHOTOS),$(BIN)/python benchmarks/real_photos.py $(PHOTOS) $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)))

# The picture of a report and the contact sheet in docs/, from the files of make demo.
docs: $(READY)
	$(BIN)/python benchmarks/docs_pictures.py demo/ docs/

clean:
	rm -rf $(VENV) demo build dist
