"""Python of docs/runtime.md runs, on exported models of a few nodes."""

import re
import shutil
from pathlib import Path

import onnx
import pytest

from mmtrtvit.datasets import CLASSES, make_shapes
from mmtrtvit.runtime import Detector
from mmtrtvit.runtime.annotations import read_annotations
from mmtrtvit.runtime.run import run

EVALUATE, PYTHON = re.findall(
    r'^```python\n(.*?)^```',
    (Path(__file__).parents[2] / 'docs/runtime.md').read_text(),
    re.M | re.S,
)
MASKS = """g (float[B, 1] any) => (float[B, 1, 28, 28] masks) {
    sides = Constant <value: tensor = int64[4] {1, 1, 28, 28}> ()
    last = Constant <value: tensor = int64[2] {2, 3}> ()
    there = Unsqueeze (any, last)
    cells = ConstantOfShape <value: tensor = float[1] {1}> (sides)
    masks = Mul (there, cells)
}"""


@pytest.fixture
def folder(made, bright, tmp_path_factory, monkeypatch):
    """A folder with the models and images that the page names."""
    folder = tmp_path_factory.mktemp('documented')
    palette = dict(palette=[[0, 0, 0]] * len(CLASSES))

    def keep(work_dir, name):
        shutil.copytree(work_dir, folder / name)

    work_dir = bright(classes=CLASSES, **palette)
    graph, masks = onnx.load(work_dir / 'end2end.onnx'), onnx.parser.parse_graph(MASKS)
    graph.graph.node.extend(masks.node)
    graph.graph.output.extend(masks.output)
    onnx.save(graph, work_dir / 'end2end.onnx')
    keep(work_dir, 'work_dirs/retinanet_trtvit_b/deploy')
    signature = '(float[B, 3, H, W] input) => (float[B, 3, H, W] output)'
    segmentor = made(
        signature, 'output = Identity (input)', 'Segmentor', params=dict(num_classes=3)
    )
    keep(segmentor, 'work_dirs/fpn_efficientvit_m4/deploy')
    mean = 'output = ReduceMean <axes = [2, 3], keepdims = 0> (input)'
    crop = [dict(type='LoadImageFromFile'), dict(type='CenterCrop', crop_size=16)]
    signature = '(float[B, 3, H, W] input) => (float[B, 3] output)'
    classes = dict(classes=[str(number) for number in range(5)])
    keep(made(signature, mean, 'Classifier', crop, **classes), 'work_dirs/demo_trtvit_a/deploy')
    make_shapes(folder / 'data/shapes', 1, val=2, size=64)
    for name in ('street.jpg', 'map.tif'):
        shutil.copy(folder / 'data/shapes/images/validation/00000000.jpg', folder / name)
    monkeypatch.chdir(folder)
    return folder


def test_in_python(folder):
    names = dict(images=['street.jpg', 'map.tif', 'none.jpg'])
    exec(PYTHON, names)
    assert names['found'].masks.shape == (1, 64, 64)
    assert names['labels'].shape == (64, 64) and len(names['kind'].scores) == 3


def test_evaluated_on_the_device(folder, capsys):
    model = Detector('work_dirs/retinanet_trtvit_b/deploy')
    annotations = read_annotations('data/shapes/annotations/instances_validation.json')
    run(
        model,
        ['data/shapes/images/validation'],
        out_dir='MODEL_DIR/results',
        score_thr=0,
        annotations=annotations,
    )
    exec(EVALUATE, {})
    assert 'Average Precision' in capsys.readouterr().out
