# make demo | test | check | perf | docs
#   PYTHON=python3.12 make test             another interpreter for the environment
#   VENV=/somewhere/venv make test          another folder for it
#   PLACE_PYTHON=$(which python) make test  an environment you made yourself; nothing is installed
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
STAMP := $(VENV)/.installed

ifdef PLACE_PYTHON
  PY := $(PLACE_PYTHON)
  READY :=
else
  PY := $(VENV)/bin/python
  READY := $(STAMP)
endif

.PHONY: help demo test check format perf docs clean

help:
	@sed -n '1,4s/^# \{0,1\}//p' Makefile

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=python3.11"; exit 3; }
	@echo "Making $(VENV), some minutes: about 3 GB with the CUDA build of torch, which also runs without a GPU."
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: sudo apt install python3-venv"; exit 3; }
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(PY) -m place_cxr demo --out $(OUT)

test: $(READY)
	$(PY) -m pytest $(ARGS)

check: $(READY)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: $(READY)
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

perf: $(READY)
	@$(PY) perf/run.py $(ARGS)

# Every link, command, option and file that the documents name exists.
docs: $(READY)
	$(PY) -m pytest tests/architecture/test_docs.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
