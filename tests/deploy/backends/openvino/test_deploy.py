"""OpenVINO's models from trained weights, and what cannot be made."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mmtrtvit.deploy.settings import Calibration, DeploySettings
from mmtrtvit.deploy.verify.evaluation import evaluate_graph
from mmtrtvit.deploy.workflow import deploy
from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Classifier
from mmtrtvit.runtime.sessions.onnx import OnnxSession

openvino = pytest.importorskip('openvino')
from mmtrtvit.deploy.backends.openvino import build  # noqa: E402
from mmtrtvit.deploy.backends.openvino.build import build_model  # noqa: E402
from mmtrtvit.runtime.sessions.openvino import OpenVINOSession  # noqa: E402

IMAGE = 'data/shapes/images/validation/00000000.jpg'
RANGES = Calibration(num_images=2)


@pytest.fixture(scope='module')
def folder(small_models, tmp_path_factory):
    return shutil.copytree(small_models, tmp_path_factory.mktemp('openvino') / 'user')


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope='module')
def onnx(folder):
    """A classifier's ONNX file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return deployed('onnxruntime', 'fp32', 'onnx', verify=False).onnx.resolve()


def deployed(backend, precision, work_dir, name='classifier', **options):
    return deploy(
        DeploySettings(backend=backend, precision=precision, calibration=RANGES),
        read_config(f'{name}.py'),
        checkpoint=f'{name}.pth',
        images=[IMAGE],
        work_dir=work_dir,
        **options,
    )


def batches():
    """Inputs in the place of training images."""
    rng = np.random.default_rng(0)
    return [dict(input=rng.standard_normal((1, 3, 64, 64), np.float32)) for _ in range(2)]


@pytest.mark.parametrize('precision', ['fp32', 'int8'])
def test_from_weights_to_the_device(precision, tmp_path):
    if precision == 'int8':
        pytest.importorskip('nncf')
    result = deployed('openvino', precision, tmp_path)
    assert result.verified and result.built == tmp_path / 'end2end.xml'
    assert (precision == 'fp32') == ('end2end.xml' not in result.agreements)
    assert {file.name for file in tmp_path.iterdir()} >= {'end2end.bin', 'output_openvino.jpg'}
    assert not list(tmp_path.glob('.openvino-*'))
    if precision == 'int8':
        assert any('are INT8; 2 images gave the ranges' in note for note in result.notes)
    model = Classifier(tmp_path)
    assert model.session.backend == 'openvino' and model.session.precision == precision
    reference = Classifier(tmp_path, session=OnnxSession(tmp_path / 'end2end.onnx'))
    tolerance = dict(fp32=1e-5, int8=0.15)[precision]
    assert model(IMAGE).scores == pytest.approx(reference(IMAGE).scores, abs=tolerance)


def test_the_metric_of_a_model(onnx, tmp_path):
    path = tmp_path / 'end2end.xml'
    build_model(onnx, path, precision='fp32', calibration=RANGES, batches=list)
    config = read_config('classifier.py')
    assert evaluate_graph(config, path) == pytest.approx(evaluate_graph(config, onnx))


def test_half_precision_and_bf16(onnx, tmp_path):
    expected, sizes = OnnxSession(onnx).run(batches()[0])['output'], {}
    for precision, tolerance in (('fp32', 1e-5), ('fp16', 1e-3), ('bf16', 0.02)):
        if precision == 'bf16' and 'BF16' not in capabilities():
            continue
        path = tmp_path / f'{precision}.xml'
        build_model(onnx, path, precision=precision, calibration=RANGES, batches=list)
        sizes[precision] = path.with_suffix('.bin').stat().st_size
        session = OpenVINOSession(path)
        found = session.run(batches()[0])['output']
        assert session.precision == precision
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert 0.45 < sizes['fp16'] / sizes['fp32'] < 0.55


def test_int8_with_bf16(onnx, tmp_path):
    pytest.importorskip('nncf')
    if 'BF16' not in capabilities():
        pytest.skip('this processor has no BF16')
    found = {}
    for rest, called in (('fp32', 'int8'), ('bf16', 'int8_bf16')):
        path = tmp_path / f'{rest}.xml'
        build_model(onnx, path, precision='int8', rest=rest, calibration=RANGES, batches=batches)
        session = OpenVINOSession(path)
        assert session.precision == called
        found[rest] = session.run(batches()[0])['output']
    assert (found['bf16'] != found['fp32']).any()
    np.testing.assert_allclose(found['bf16'], found['fp32'], rtol=0, atol=0.02)


def capabilities():
    return openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


def test_layers_that_are_left_out_of_int8(onnx, tmp_path):
    pytest.importorskip('nncf')
    counts = []
    for exclude in ((), ('head/fc',)):
        given = Calibration(exclude=exclude)
        (note,) = build_model(
            onnx, tmp_path / 'a.xml', precision='int8', calibration=given, batches=batches
        )
        counts.append(int(note.split()[0]))
    assert counts[0] == counts[1] + 1
    with pytest.raises(UserError, match="calib_config.exclude: 'nothing' is in the name of no"):
        given = Calibration(exclude=('nothing',))
        build_model(onnx, tmp_path / 'b.xml', precision='int8', calibration=given, batches=batches)
    assert not (tmp_path / 'b.xml').exists()


def test_maps_of_transformers_that_are_concatenated(tmp_path):
    """UPerNet's, for which NNCF finds no range between others around zero and not."""
    pytest.importorskip('nncf')
    result = deployed('openvino', 'int8', tmp_path, 'upernet', verify=False)
    assert any('are INT8' in note for note in result.notes)


def test_a_failed_write_leaves_no_half_model(onnx, tmp_path, monkeypatch):
    path = tmp_path / 'end2end.xml'
    build_model(onnx, path, precision='fp32', calibration=RANGES, batches=list)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(model, part, **_):
        Path(part).write_text('half')
        raise OSError('the disk is full')

    monkeypatch.setattr(openvino, 'save_model', fail)
    with pytest.raises(OSError, match='the disk is full'):
        build_model(onnx, path, precision='fp16', calibration=RANGES, batches=list)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_nncf_leaves_our_logging_alone():
    pytest.importorskip('nncf')
    before = [handler.level for handler in logging.root.handlers], logging.getLoggerClass()
    build.require('int8', RANGES)
    after = [handler.level for handler in logging.root.handlers], logging.getLoggerClass()
    assert before == after


def test_what_cannot_be_made_is_refused_before_any_work(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'nncf', None)
        with pytest.raises(UserError, match=r'needs NNCF: pip install "mmtrtvit\[openvino\]"'):
            deployed('openvino', 'int8', tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'openvino', None)
        with pytest.raises(UserError, match='this deploy config needs OpenVINO: pip install'):
            deployed('openvino', 'fp32', tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(openvino, '__version__', '2023.3.0-13775')
        with pytest.raises(UserError, match='OpenVINO 2024.6 or newer, but 2023.3.0-13775 is'):
            deployed('openvino', 'fp32', tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(build, 'check_precision', refuse)
        with pytest.raises(UserError, match='no bf16 here'):
            deployed('openvino', 'bf16', tmp_path)
    pytest.importorskip('nncf')
    for calibration in (Calibration(method='entropy'), Calibration(exclude_worst=2)):
        with pytest.raises(UserError, match="NNCF.* has method='minmax' and exclude_worst=0 only"):
            build.require('int8', calibration)
    assert not list(tmp_path.iterdir())


def refuse(*_):
    raise UserError('no bf16 here')
