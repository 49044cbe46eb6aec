"""Exported models with random weights, the same files behind their hosts, and images."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest

from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.deploy.verify.evaluation import deployed
from mmtrtvit.deploy.workflow import deploy
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.predictor import load
from mmtrtvit.runtime.sessions.onnx import OnnxSession

SIZES = [(100, 130), (130, 100), (256, 256), (301, 77), (40, 40)]


@pytest.fixture(scope='session')
def images():
    """Images of several sizes, ``(H, W, 3)``, uint8, BGR, with something in them."""
    rng = np.random.default_rng(0)
    found = []
    for height, width in SIZES:
        image = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        found.append(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC))
    return found


@pytest.fixture(scope='session')
def exported(small_models, tmp_path_factory):
    """Exports a small model; returns its ``work_dir`` and the ``host``, a Predictor of the file."""

    def export(name, **settings):
        work_dir = tmp_path_factory.mktemp(name)
        config = read_config(small_models / f'{name}.py')
        weights = small_models / f'{name}.pth'
        path = deploy(
            DeploySettings(**settings),
            config,
            checkpoint=weights,
            images=[],
            work_dir=work_dir,
            verify=False,
        ).onnx
        host = load(config, weights, 'cpu')
        host.model = deployed(host.model, OnnxSession(path))
        return SimpleNamespace(work_dir=work_dir, host=host)

    return export


@pytest.fixture
def made(tmp_path):
    """Makes work dirs around graphs of a few nodes.

    Called with the graph's text in ONNX's own language, without the name and the braces around the
    nodes, and with parts of ``pipeline.json`` or ``deploy.json`` by keyword.
    """

    def make(signature, nodes, task='Detector', transforms=TRANSFORMS, params=None, **names):
        graph = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 17]> g {signature} {{ {nodes} }}'
        )
        onnx.checker.check_model(graph)
        onnx.save(graph, tmp_path / 'end2end.onnx')
        tasks = [dict(transforms=transforms), {}, dict(params=params or {})]
        content = {
            'deploy.json': dict(task=task, models=[dict(net='end2end.onnx')]),
            'pipeline.json': dict(
                pipeline=dict(tasks=tasks), **(names or dict(classes=['bright', 'dark']))
            ),
        }
        for name, value in content.items():
            (tmp_path / name).write_text(json.dumps(value))
        return tmp_path

    return make


@pytest.fixture
def bright(made):
    """Makes detectors that find the box around all pixels above 128, if there are any.

    Called with the shape of the input ``(B, 3, H, W)``.
    """

    def make(shape='B, 3, H, W', **options):
        batch = shape.partition(',')[0]
        return made(
            f'(float[{shape}] input, float[{batch}, 2] sizes) => (int32[{batch}, 1] num_dets, '
            f'float[{batch}, 1, 5] dets, int32[{batch}, 1] labels)',
            BRIGHT,
            **options,
        )

    return make


TRANSFORMS = [
    dict(type='LoadImageFromFile'),
    dict(type='Normalize', mean=[0, 0, 0], std=[1, 1, 1], to_rgb=False),
]
BRIGHT = """
    level = Constant <value: tensor = float {128}> ()
    one = Constant <value: tensor = float[1] {1}> ()
    half = Constant <value: tensor = float {0.5}> ()
    second = Constant <value: tensor = int64[1] {1}> ()
    over = Greater (input, level)
    pixels = Cast <to = 1> (over)
    rows = ReduceMax <axes = [1, 3], keepdims = 0> (pixels)
    columns = ReduceMax <axes = [1, 2], keepdims = 0> (pixels)
    any = ReduceMax <axes = [1], keepdims = 1> (rows)
    first_row = ArgMax <axis = 1, keepdims = 1> (rows)
    first_column = ArgMax <axis = 1, keepdims = 1> (columns)
    last_row = ArgMax <axis = 1, keepdims = 1, select_last_index = 1> (rows)
    last_column = ArgMax <axis = 1, keepdims = 1, select_last_index = 1> (columns)
    top = Cast <to = 1> (first_row)
    left = Cast <to = 1> (first_column)
    end_row = Cast <to = 1> (last_row)
    end_column = Cast <to = 1> (last_column)
    bottom = Add (end_row, one)
    right = Add (end_column, one)
    row = Concat <axis = 1> (left, top, right, bottom, any)
    dets = Unsqueeze (row, second)
    num_dets = Cast <to = 6> (any)
    unused = Mul (sizes, half)
    labels = Sub (num_dets, num_dets)
"""
