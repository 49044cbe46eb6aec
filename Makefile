PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

DEMOS := $(patsubst configs/demo/%.py,demo-%,$(wildcard configs/demo/*.py))
RUNS  := work_dirs/demo

.PHONY: help setup demo demo-all $(DEMOS) smoke test test-openvino endurance lint docs dist clean

help:
	@echo 'make demo       set up, then train, evaluate and draw a TRT-ViT-B RetinaNet on generated data'
	@echo 'make demo-all   the same for each of configs/demo: boxes, masks and label maps'
	@echo 'make smoke      set up, then see in a minute whether this installation works at all'
	@echo 'make test       set up, then run the tests'
	@echo 'make test-openvino  install OpenVINO and NNCF, then run the tests of that backend'
	@echo 'make endurance  set up, then kill a training 50 times and look at 10,000 images, 500 of them bad'
	@echo 'make lint       set up, then check the style and the types of the code'
	@echo 'make docs       set up, then build the site of the docs, build/docs/index.html'
	@echo 'make dist       set up, then build the packages and try them in an empty environment'
	@echo 'make clean      remove the virtual environment, the generated data and the results of demos'
	@echo
	@echo 'One demo alone:' $(DEMOS)

setup: $(READY)

# Made once; again only when setup.py changes. mmcv is built without its compiled ops, which
# mmtrtvit replaces. Where the desktop build of OpenCV finds no libGL, the headless one takes over.
$(READY): setup.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("mmtrtvit needs Python 3.10 or newer; name one with: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	MMCV_WITH_OPS=0 $(BIN)/python -m pip install --disable-pip-version-check -e '.[onedl,pretrain,test,lint]'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(BIN)/python -m pip install --no-deps --force-reinstall \
	  "opencv-python-headless==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python-headless"))')"
	@touch $@

demo: demo-retinanet_trtvit_b

demo-all: $(DEMOS)

$(DEMOS): demo-%: $(READY)
	$(BIN)/python -m mmtrtvit demo $* --work-dir $(RUNS)

smoke: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_smoke.py

# One process per core, each with one thread: small models gain nothing from more.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# OpenVINO and NNCF are extras, so their tests run once more where they are installed.
test-openvino: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[openvino]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -k openvino tests/deploy/backends tests/runtime tests/analysis

endurance: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/endurance.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/*.Dockerfile

# The sdist, and the wheel made of it. What tries them needs the network.
dist: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[release]'
	rm -rf dist build
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m pytest -m dist tests/test_dist.py

# Without a network, and any warning is an error.
docs: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going --quiet -c docs . build/docs

clean:
	rm -rf $(VENV) data/shapes $(RUNS) build dist *.egg-info
