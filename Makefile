# Every target makes the environment it needs once; the second time it starts at once.
#
#   make demo         real chest CT through a running server: pictures and JSON in demo-output/
#   make test         all checks and tests
#   make test-fast    without the slow ones
#   make serve        the server on this machine (STUDIES=folder PORT=8000)
#   make bench        timings beside named peers (MASKS=folder with CT and lung masks, optional)
#   make test-compat  the library without MONAI Label on another Python (COMPAT_PYTHON=python3.12)

SHELL := /bin/bash
.DEFAULT_GOAL := help

# MONAI Label 0.8.5 runs on Python 3.10 and 3.11.
PYTHON ?= $(shell for each in python3.11 python3.10 python3; do \
	$$each -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null && echo $$each && break; done)
COMPAT_PYTHON ?= python3.12
STUDIES ?= studies
PORT ?= 8000
MASKS ?=

BIN := .venv/bin
READY := .venv/.ready
COMPAT_READY := .venv-compat/.ready
CODE := apps tests benchmarks sample-data slicer_extension
# What drawing without a screen needs (3D Slicer's views, Qt), by the library that is looked for.
LIBRARIES := libEGL.so.1:libegl1 libGL.so.1:libgl1 libxkbcommon.so.0:libxkbcommon0 libfontconfig.so.1:libfontconfig1 libdbus-1.so.3:libdbus-1-3
# Programs that tests run: a checker of DICOM objects, an archive with DICOMweb, a sender, readers of PDF, a browser.
PROGRAMS := /usr/bin/dciodvfy:dicom3tools /usr/sbin/Orthanc:orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so:orthanc-dicomweb \
	/usr/bin/storescu:dcmtk /usr/bin/pdftotext:poppler-utils /usr/bin/chromium:chromium

.PHONY: help demo serve test test-fast test-compat lint bench libraries

help:
	@sed -n 's/^#   //p' Makefile

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 or 3.11 is needed: apt-get install python3.11 python3.11-venv, or set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[server,lungmask,test]'
	@touch $@

$(COMPAT_READY): pyproject.toml constraints.txt
	@$(COMPAT_PYTHON) -c 'import ensurepip, venv' || { echo "Another Python with venv is needed: set COMPAT_PYTHON=..."; exit 1; }
	$(COMPAT_PYTHON) -m venv .venv-compat
	.venv-compat/bin/python -m pip install --quiet --upgrade pip
	.venv-compat/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[lungmask,test]'
	@touch $@

demo: $(READY)
	$(BIN)/covid-bert demo --data sample-data --out demo-output

serve: $(READY)
	$(BIN)/covid-bert serve --studies "$(STUDIES)" --port $(PORT)

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

# A package is installed only if its library or program is missing.
libraries:
	@missing=""; for each in $(LIBRARIES); do ldconfig -p | grep -q "$${each%%:*}" || missing="$$missing $${each##*:} libgl1-mesa-dri"; done; \
	for each in $(PROGRAMS); do test -e "$${each%%:*}" || missing="$$missing $${each##*:}"; done; \
	root="$$(test "$$(id -u)" = 0 || echo sudo) env DEBIAN_FRONTEND=noninteractive"; \
	test -z "$$missing" || { echo "Installing$$missing"; \
	$$root apt-get install -y --no-install-recommends $$missing \
	|| { $$root apt-get update && $$root apt-get install -y --no-install-recommends $$missing; }; }

test: lint libraries
	$(BIN)/python -m pytest

test-fast: $(READY) libraries
	$(BIN)/python -m pytest -m "not slow and not server"

# MONAI Label cannot be imported here; everything that needs none of it must work.
test-compat: $(COMPAT_READY)
	.venv-compat/bin/python -m pytest -m "not server" --ignore tests/tasks --ignore tests/server

bench: $(READY)
	$(BIN)/python benchmarks/study.py
	$(BIN)/python benchmarks/lungs.py --speed $(if $(MASKS),--masks "$(MASKS)")
