PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

CONFIG := configs/demo/retinanet_trtvit_b.py
RUN    := work_dirs/demo

.PHONY: help setup demo test lint clean

help:
	@echo 'make demo    set up, then train, evaluate and draw a TRT-ViT-B RetinaNet on generated data'
	@echo 'make test    set up, then run the tests'
	@echo 'make lint    set up, then check the style of the code'
	@echo 'make clean   remove the virtual environment, the generated data and the demo's results'

setup: $(READY)

# Made once; again only when setup.py changes. mmcv is built without its compiled ops, which
# mmtrtvit replaces. Where the desktop build of OpenCV finds no libGL, the headless one takes over.
$(READY): setup.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("mmtrtvit needs Python 3.10 or newer; name one with: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	MMCV_WITH_OPS=0 $(BIN)/python -m pip install --disable-pip-version-check -e '.[onedl,test,lint]'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(BIN)/python -m pip install --no-deps --force-reinstall \
	  "opencv-python-headless==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python-headless"))')"
	@touch $@

demo: $(READY)
	$(BIN)/python tools/make_shapes.py data/shapes
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(RUN)
	$(BIN)/python tools/test.py $(CONFIG) $(RUN) --work-dir $(RUN)/test --show-dir $(RUN)/detections
	$(BIN)/python tools/analyze.py curves $(RUN)
	$(BIN)/python tools/analyze.py sheet $(RUN)/detections
	@echo
	@echo 'Done. Look at'
	@echo '  $(RUN)/detections.png   ground truth and detections side by side'
	@echo '  $(RUN)/detections/      the same for every validation picture'
	@echo '  $(RUN)/curves.png       loss and mAP over the training'
	@echo 'The checkpoint, the config and the log are in $(RUN).'
	@echo 'Next: your own pictures (docs/own_data.md), or a larger model: configs/retinanet_trtvit_c.py'

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) data/shapes $(RUN) build *.egg-info
