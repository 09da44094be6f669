# make demo and make test do all of their own set-up on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CHECK_SCHEMA = $(BIN)/check-jsonschema --no-cache
SDIST_TESTS := tests/core/test_images.py tests/data/test_table.py \
  tests/project/test_packaging.py tests/project/test_docs.py
RESTED := OMP_WAIT_POLICY=PASSIVE OPENBLAS_THREAD_TIMEOUT=4  # as the command line sets them

.PHONY: setup demo test test-minimum wheel-test sdist-test check check-workflows api-docs bench docs clean

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

# The lowest supported version of each core dependency and of [serve], without torch.
# An old release warns about newer ones beside it; here that is no error.
test-minimum:
	rm -rf build/minimum
	$(PYTHON) -m venv build/minimum
	build/minimum/bin/python -m pip install --quiet --upgrade pip
	build/minimum/bin/python -m pip install --quiet --editable '.[serve]' -r requirements/minimum.txt
	build/minimum/bin/python -m pytest -p tests.support.skip_missing -W ignore::DeprecationWarning -n auto

# What people install: the wheel in an empty environment with the core dependencies only.
wheel-test: $(READY)
	rm -rf build/wheel
	$(BIN)/python -m build --outdir build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet build/wheel/*.whl
	cd build/wheel && venv/bin/python $(CURDIR)/tests/support/installed_check.py $(CURDIR)/src/whichlandmark

# The source archive is complete: its own tests of images, tables, documents and packaging pass in it.
sdist-test: $(READY)
	rm -rf build/sdist
	$(BIN)/python -m build --sdist --outdir build/sdist
	cd build/sdist && tar -xzf whichlandmark-*.tar.gz && cd whichlandmark-*/ && \
	  PYTHONPATH=src $(CURDIR)/$(BIN)/python -m pytest -q -p no:cacheprovider $(SDIST_TESTS) -k 'not example_runs'

check: $(READY) check-workflows
	$(BIN)/ruff check src tests benchmarks examples tools
	$(BIN)/ruff format --check src tests benchmarks examples tools
	$(BIN)/mypy

check-workflows: $(READY)
	$(CHECK_SCHEMA) --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(CHECK_SCHEMA) --builtin-schema custom.github-workflows-require-timeout .github/workflows/test.yml
	$(CHECK_SCHEMA) --builtin-schema vendor.dependabot .github/dependabot.yml
	$(CHECK_SCHEMA) --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*_re*.yml
	$(CHECK_SCHEMA) --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(CHECK_SCHEMA) --builtin-schema vendor.citation-file-format CITATION.cff

# The reference of the Python interface, from its docstrings: build/api/whichlandmark.html
api-docs: $(READY)
	$(BIN)/python -m pdoc --docformat google --template-directory docs/api \
	  --output-directory build/api whichlandmark

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
