"""From trained weights to a verified file, through the functions and through the tool."""

import contextlib
import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from mmtrtvit import media
from mmtrtvit.deploy import workflow
from mmtrtvit.deploy.backends.tensorrt import rules
from mmtrtvit.deploy.export import model as exporting
from mmtrtvit.deploy.export.model import export_model
from mmtrtvit.deploy.settings import LEAST_AGREEMENT, Calibration, DeploySettings
from mmtrtvit.deploy.verify import peaks, steps
from mmtrtvit.deploy.verify.compare import agree
from mmtrtvit.deploy.verify.evaluation import evaluate_graph
from mmtrtvit.deploy.verify.open import open_graph
from mmtrtvit.deploy.verify.steps import compare_steps
from mmtrtvit.deploy.workflow import deploy, verify_on
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.predictor import load
from mmtrtvit.engine.runner import evaluate
from mmtrtvit.errors import UserError
from mmtrtvit.models.fast.onnxruntime import OnnxBackbone
from mmtrtvit.runtime import Segmentor
from mmtrtvit.runtime.sessions.base import image_input
from mmtrtvit.runtime.sessions.onnx import OnnxSession

ROOT = Path(__file__).parents[2]
PRESET = ROOT / 'configs/deploy/onnxruntime.py'
SHAPES = 'data/shapes/images/validation'
NAMES = 'retinanet', 'mask_rcnn', 'upernet', 'fpn', 'classifier'


@pytest.fixture(scope='module')
def folder(small_models, tmp_path_factory):
    """A user's folder with a space and an accent in its name."""
    return shutil.copytree(small_models, tmp_path_factory.mktemp('é a') / 'user')


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def images():
    return sorted(map(str, Path(SHAPES).iterdir()))


def odd_images():
    """Images that the pipeline makes inputs of four sizes of, none a multiple of a window."""
    rng = np.random.default_rng(0)
    return [
        cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (width, height))
        for height, width in ((64, 96), (101, 67), (40, 150), (33, 33))
    ]


@pytest.fixture(scope='module', params=NAMES)
def exported(request, folder):
    """A model's name and what deploying it gave."""
    name = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = deploy(
            DeploySettings(),
            read_config(f'{name}.py'),
            checkpoint=f'{name}.pth',
            images=images(),
            work_dir=f'deployed {name}',
        )
    return name, result


def test_the_file_finds_what_pytorch_finds(exported):
    name, result = exported
    assert result.verified and result.differences
    assert result.differences[0].count > 0
    folder = Path(f'deployed {name}')
    assert {file.name for file in folder.iterdir()} >= {
        'end2end.onnx',
        'output_pytorch.jpg',
        'output_onnxruntime.jpg',
        'output.jpg',
        'deploy.json',
        'pipeline.json',
        'detail.json',
    }
    ours, theirs = (
        cv2.imread(str(folder / f'output_{side}.jpg')) for side in ('onnxruntime', 'pytorch')
    )
    assert np.abs(ours.astype(int) - theirs).max() < 30


def test_every_tool_takes_the_file(exported, tool):
    tool(exported[1].onnx)


def test_pytorch_is_compared_without_tf32(monkeypatch, tmp_path):
    predict, seen = workflow.Predictor.__call__, []

    def call(*args):
        seen.append(torch.backends.cudnn.allow_tf32)
        return predict(*args)

    monkeypatch.setattr(workflow.Predictor, '__call__', call)
    config, before = read_config('retinanet.py'), torch.backends.cudnn.allow_tf32
    deploy(
        DeploySettings(), config, checkpoint='retinanet.pth', images=images()[:1], work_dir=tmp_path
    )
    assert seen[0] is False and torch.backends.cudnn.allow_tf32 is before


def test_a_gpu_without_onnx_runtime_for_it(exported, monkeypatch):
    name, _ = exported
    result = workflow.DeployResult(Path(f'deployed {name}/end2end.onnx'))
    assert workflow.onnx_session(result, 'cpu').inputs and not result.notes
    assert workflow.onnx_session(result, 'cuda:0').inputs
    assert 'compared on the CPU' in result.notes[0]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert open_graph(result.onnx).inputs
    with pytest.raises(UserError, match='has no CUDA'):
        open_graph(result.onnx, 'cuda:0')


def test_one_file_for_every_size(exported, tmp_path):
    name, result = exported
    predictor = load(f'{name}.py', f'{name}.pth', 'cpu')
    comparison = verify_on(
        predictor, OnnxSession(result.onnx), images=odd_images(), work_dir=tmp_path, least=0.999999
    )
    assert all(difference.within for difference in comparison.differences)
    assert comparison.agreement.enough


def test_the_file_has_the_metric_of_the_weights(exported):
    name, result = exported
    expected = evaluate(read_config(f'{name}.py'), f'{name}.pth')
    found = evaluate_graph(read_config(f'{name}.py'), result.onnx)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=5e-4)


def test_openvino_finds_what_pytorch_finds(exported, tmp_path):
    """In single precision, at every size, and step by step."""
    pytest.importorskip('openvino')
    from mmtrtvit.deploy.backends.openvino.build import build_model
    from mmtrtvit.runtime.sessions.openvino import OpenVINOSession

    name, result = exported
    path, calibration = tmp_path / 'end2end.xml', Calibration()
    build_model(result.onnx, path, precision='fp32', calibration=calibration, batches=list)
    predictor = load(f'{name}.py', f'{name}.pth', 'cpu')
    session = open_graph(path)
    assert session.backend == 'openvino' and session.precision == 'fp32'
    comparison = verify_on(predictor, session, images=odd_images(), work_dir=tmp_path)
    assert agree(comparison.differences)
    one = odd_images()[:1]
    assert agree(compare_steps(predictor, result.onnx, images=one, open_graph=OpenVINOSession))


@pytest.mark.parametrize('name', ['retinanet', 'fpn'])
def test_a_graph_of_one_size_takes_smaller_images_too(name, tmp_path):
    settings = DeploySettings(input_shape=(128, 160), dynamic_size=False, dynamic_batch=False)
    config = read_config(f'{name}.py')
    result = deploy(settings, config, checkpoint=f'{name}.pth', images=images(), work_dir=tmp_path)
    assert result.verified
    session = OnnxSession(result.onnx)
    assert image_input(session).shape == (1, 3, 128, 160)
    config.test_dataloader.dataset.pipeline[1].scale = (200, 200)
    predictor = load(config, f'{name}.pth', device='cpu')
    with pytest.raises(UserError, match=r'takes images of 128 x 160 \(H x W\); one has'):
        verify_on(predictor, session, images=odd_images(), work_dir=tmp_path)


def test_a_model_that_finds_nothing_is_compared_in_front_of_its_threshold(
    monkeypatch, capsys, tmp_path
):
    """tests/deploy/verify/test_steps.py has damaged files of such models."""
    config = Path('retinanet.py').read_text().replace('max_per_img=10', 'score_thr=0.9999')
    Path('blind.py').write_text(config)
    arguments = 'blind.py', 'retinanet.pth', images()[0], '--work-dir', tmp_path
    assert run(monkeypatch, PRESET, *arguments) == 0
    out = capsys.readouterr().out
    assert re.search(r'\nboxes \(pixels\) +0 +0 +- .* nothing to compare\n', out)
    assert re.search(r'\nclass logits \(of their spread\) +\d{4} +0 .* ok\n', out)


def test_label_maps_out_of_the_graph(tmp_path):
    config = read_config('fpn.py')
    settings = DeploySettings(with_argmax=True)
    result = deploy(settings, config, checkpoint='fpn.pth', images=images(), work_dir=tmp_path)
    session = OnnxSession(result.onnx)
    (output,) = session.run(dict(input=np.zeros((2, 3, 64, 96), np.float32))).values()
    assert output.shape == (2, 64, 96) and output.dtype == np.int32
    dims = onnx.load(result.onnx).graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in dims] == ['batch', 'rows', 'columns']
    assert result.differences[0].mean < 0.05  # enlarged after the best class was taken


@pytest.fixture(scope='module')
def resizing(folder, tmp_path_factory):
    """What deploying a segmentor, the graph of which resizes, gave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return deploy(
            DeploySettings(preprocessing=True, resizing=True),
            read_config('fpn.py'),
            checkpoint='fpn.pth',
            images=images(),
            work_dir=tmp_path_factory.mktemp('resizing'),
        )


def test_a_graph_that_resizes_finds_what_pytorch_finds(resizing):
    assert resizing.verified and not resizing.agreements  # but for rounding
    (model,) = json.loads(resizing.onnx.with_name('deploy.json').read_text())['models']
    assert model['in_graph'][0] == 'Resize'
    image = odd_images()[0]
    predictor = load('fpn.py', 'fpn.pth', device='cpu')
    (expected,) = predictor([image])
    found = Segmentor(resizing.onnx.parent)(image).labels
    assert (found != expected.pred_sem_seg.data[0].numpy()).mean() < 1e-4


def test_a_graph_that_resizes_is_evaluated_on_images_as_they_are(resizing):
    config = read_config('fpn.py')
    steps = [step['type'] for step in config.test_dataloader.dataset.pipeline]
    found = evaluate_graph(config, resizing.onnx)
    expected = evaluate(config, 'fpn.pth')
    assert found == pytest.approx(expected, abs=0.02)
    assert [step['type'] for step in config.test_dataloader.dataset.pipeline] == steps


@pytest.mark.parametrize(
    'backend, precision, expected',
    [
        ('onnxruntime', 'fp32', True),
        ('onnxruntime', 'fp16', False),
        ('onnxruntime', 'int8', True),
        ('tensorrt', 'fp32', False),
        ('openvino', 'fp32', True),
        ('openvino', 'bf16', True),
    ],
)
def test_what_runtimes_on_a_cpu_compute_faster(backend, precision, expected, monkeypatch, tmp_path):
    modules = []
    monkeypatch.setattr(exporting, 'export', lambda module, *_, **__: modules.append(module))
    settings = DeploySettings(backend=backend, precision=precision)
    export_model(
        load('fpn.py', 'fpn.pth', device='cpu').model, settings, path=tmp_path / 'end2end.onnx'
    )
    (module,) = modules
    assert isinstance(module.backbone, OnnxBackbone) == expected


@pytest.fixture(scope='module', params=['mask_rcnn', 'fpn', 'classifier'])
def lower_model(request):
    return request.param


@pytest.fixture(scope='module', params=['fp16', 'int8'])
def lower(request, lower_model, folder):
    """A model's name, its precision and what deploying it gave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # Random weights, whose scores are nearly equal, find other boxes in INT8.
        least = 0.0 if (lower_model, request.param) == ('mask_rcnn', 'int8') else LEAST_AGREEMENT
        result = deploy(
            DeploySettings(
                precision=request.param,
                calibration=Calibration(num_images=2),
                least_agreement=least,
            ),
            read_config(f'{lower_model}.py'),
            checkpoint=f'{lower_model}.pth',
            images=images(),
            work_dir=f'deployed {lower_model} {request.param}',
        )
    return lower_model, request.param, result


def test_every_tool_takes_the_file_of_lower_precision(lower, tool):
    tool(lower[2].onnx)


def test_lower_precision_has_to_agree(lower):
    name, precision, result = lower
    (agreement,) = result.agreements.values()
    assert result.verified and not all(each.within for each in result.differences)
    assert agreement.least <= agreement.share <= 1 and agreement.count
    if name == 'fpn':
        assert result.differences[0].mean < 0.1
    types = {tensor.data_type for tensor in onnx.load(result.onnx).graph.initializer}
    kind = dict(fp16=onnx.TensorProto.FLOAT16, int8=onnx.TensorProto.INT8)[precision]
    assert kind in types
    notes = ' '.join(result.notes)
    assert (precision == 'int8') == ('layers are INT8' in notes)
    assert 'would not take this graph' not in notes  # INT8 is for this backend alone
    assert (precision == 'fp16') == (result.peaks is not None)
    record = json.loads(result.onnx.with_name('deploy_report.json').read_text())
    assert record['speed']['ratio'] == result.speed.ratio > 0
    assert record['speed']['precision'] == precision and record['verified']
    if precision == 'fp16':
        assert result.peaks.images == (2 if name == 'classifier' else 1)  # of the training data
        assert not result.peaks.overflowing
        detail = json.loads(result.onnx.with_name('detail.json').read_text())
        assert list(detail['largest_half_values']) == [
            peak.layer for peak in result.peaks.largest(10)
        ]


def test_a_half_file_that_overflows_is_told(monkeypatch, capsys, tmp_path):
    """Its training images cannot be read, so the given ones have to do."""
    state = torch.load('fpn.pth', weights_only=False)
    state['state_dict']['backbone.stem.0.conv.weight'] *= 4e4
    torch.save(state, 'large.pth')
    code = run(
        monkeypatch,
        PRESET,
        'fpn.py',
        'large.pth',
        images()[0],
        '--calib-dataset-cfg',
        no_training_images(),
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'backend_config.common_config.fp16_mode=True',
    )
    out = capsys.readouterr().out
    assert code == 2
    assert re.search(
        r'Half precision cannot hold \d+ layer\(s\) of .*end2end.onnx, first back', out
    )
    assert 'first backbone.stem.0' in out and 'looked at on 1 given image(s) only' in out
    assert (tmp_path / 'end2end.onnx').is_file()


def test_a_half_file_is_looked_at_without_comparing_it(noted_limits, tmp_path):
    """And where there is no image to look at, that is told."""
    given = dict(images=[], device='cpu')
    result = deploy(
        DeploySettings(precision='fp16', calibration=Calibration(num_images=1)),
        read_config('fpn.py'),
        **given,
        checkpoint='fpn.pth',
        work_dir=tmp_path,
        verify=False,
        timeout=60,
    )
    assert result.verified and result.peaks.images == 1 and noted_limits == [60]
    assert not result.notes
    elsewhere = read_config(no_training_images())
    assert workflow.peaks_of(result, None, config=elsewhere, count=1, **given) is None
    assert 'was looked at on NO image, as the training images of' in result.notes[0]


def test_a_file_for_other_processors_is_not_called_slow_here(monkeypatch, tmp_path):
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    result = deploy(
        DeploySettings(
            precision='int8', calibration=Calibration(num_images=1), common=dict(processor='arm')
        ),
        read_config('fpn.py'),
        checkpoint='fpn.pth',
        images=images()[:1],
        work_dir=tmp_path,
    )
    assert result.verified and result.speed is None
    assert result.notes[-1] == (
        'Not timed: the file is for ARM, and this machine is another. There, '
        f'tools/benchmark.py {result.onnx} measures it.'
    )


def test_a_file_of_lower_precision_that_does_not_agree(monkeypatch, capsys, tmp_path):
    run_graph = OnnxSession.run

    def wrong(self, inputs):
        outputs = run_graph(self, inputs)
        outputs['output'] = np.roll(outputs['output'], 1, axis=1)
        return outputs

    monkeypatch.setattr(OnnxSession, 'run', wrong)
    code = run(
        monkeypatch,
        PRESET,
        *('fpn.py', 'fpn.pth', images()[0], '--work-dir', tmp_path, '--cfg-options'),
        'backend_config.common_config.int8_mode=True',
        'calib_config.num_images=1',
    )
    out = capsys.readouterr().out
    assert code == 2
    message = (
        r'end2end.onnx does not find what PyTorch finds: \d+\.\d% of \d \(mean IoU of classes\)'
    )
    assert re.search(message + ', at least 70% expected. Try another calib_config.method', out)
    assert (tmp_path / 'end2end.onnx').is_file()


def no_training_images():
    """A config whose training images are not on this machine."""
    text = Path('fpn.py').read_text()
    Path('elsewhere.py').write_text(text + "train_dataloader = dict(dataset=dict(data_root='no'))")
    return 'elsewhere.py'


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['retinanet/retinanet_r50_fpn_1x_coco.py', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py']
)
def test_mmdetections_own_models(name, tmp_path):
    """Random weights; boxes are made likely, or there would be none."""
    import mmdet
    from mmengine.registry import MODELS, DefaultScope

    source = Path(mmdet.__file__).with_name('.mim') / 'configs' / name
    Path('stock.py').write_text(f"""
_base_ = '{source}'
model = dict(backbone=dict(init_cfg=None))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 120), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
""")
    config = read_config('stock.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    if hasattr(model, 'roi_head'):
        torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.3)
    else:  # less, as scores next to 1 would be equal, and their order by chance
        torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.05)
    meta = dict(dataset_meta=dict(classes=tuple(map(str, range(80)))))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'stock.pth')
    result = deploy(
        DeploySettings(),
        config,
        checkpoint=tmp_path / 'stock.pth',
        images=images()[:2],
        work_dir=tmp_path,
    )
    assert result.verified, result.differences
    assert result.differences[0].count > 0


def run(monkeypatch, *arguments, tool='deploy'):
    """Runs a tool in this process and returns its exit code."""
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')
        raise SystemExit(0)
    return stop.value.code


def test_the_tool(monkeypatch, capsys, tmp_path):
    code = run(
        monkeypatch,
        PRESET,
        'fpn.py',
        'fpn.pth',
        images()[0],
        '--test-img',
        *images()[1:],
        '--work-dir',
        tmp_path / 'out',
        '--dump-info',
    )
    out = capsys.readouterr().out
    assert code == 0
    assert re.search(r'share of other labels +\d+ +0 .* ok', out)
    assert str(tmp_path / 'out/end2end.onnx') in out


def test_the_images_are_shown(monkeypatch, tmp_path):
    shown = []

    @contextlib.contextmanager
    def open_window(title):
        yield lambda image: shown.append(image.shape)

    monkeypatch.setattr(media, 'open_window', open_window)
    code = run(
        monkeypatch,
        PRESET,
        'fpn.py',
        'fpn.pth',
        images()[0],
        '--work-dir',
        tmp_path / 'é',
        '--show',
    )
    assert code == 0 and shown == [cv2.imread(str(tmp_path / 'é/output.jpg')).shape]


def test_without_tensorrt_the_onnx_file_is_done_and_the_way_on_is_told(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    code = run(
        monkeypatch,
        PRESET.with_name('tensorrt_fp32.py'),
        'fpn.py',
        'fpn.pth',
        images()[0],
        '--work-dir',
        tmp_path,
    )
    out = capsys.readouterr().out
    assert code == 3
    assert 'there is no engine' in out and f'trtexec --onnx={tmp_path / "end2end.onnx"}' in out
    assert [each.name for each in OnnxSession(tmp_path / 'end2end.onnx').outputs] == ['output']


def test_tensorrt_gets_no_graph_that_its_parser_refuses(monkeypatch, tmp_path):
    monkeypatch.setattr(rules, 'check_graph', lambda path, release: ['an op is unknown'])
    message = 'end2end.onnx: TensorRT 8.6 does not take this graph:\n  an op is unknown'
    with pytest.raises(UserError, match=message):
        deploy(
            DeploySettings(backend='tensorrt'),
            read_config('fpn.py'),
            checkpoint='fpn.pth',
            images=[],
            work_dir=tmp_path,
            verify=False,
        )


def test_a_file_that_differs_is_kept_and_told(monkeypatch, capsys, tmp_path):
    run_graph = OnnxSession.run

    def wrong(self, inputs):
        outputs = run_graph(self, inputs)
        outputs['dets'][..., 0] += 0.5
        return outputs

    monkeypatch.setattr(OnnxSession, 'run', wrong)
    code = run(
        monkeypatch,
        PRESET,
        'retinanet.py',
        'retinanet.pth',
        images()[0],
        '--work-dir',
        tmp_path / 'out',
    )
    out = capsys.readouterr().out
    assert code == 2
    assert 'DIFFERS' in out and f'{tmp_path / "out/end2end.onnx"} finds something else' in out
    assert (tmp_path / 'out/end2end.onnx').stat().st_size > 1000


def test_a_graph_without_an_end_is_stopped(monkeypatch, endless, tmp_path):
    """By the tool that exports and compares, and by the one that evaluates."""

    def export(model, settings, *, path, **_):
        return exporting.Exported(endless(path), 0, 0, 0, 0)

    monkeypatch.setattr(workflow, 'export_model', export)
    file, stop = tmp_path / 'end2end.onnx', ('--timeout', '0.2')
    message = f'error: {file}: a run took more than 0.2 seconds and was stopped'
    given = 'fpn.py', 'fpn.pth', images()[0], '--work-dir', tmp_path
    assert run(monkeypatch, PRESET, *given, *stop).startswith(message)
    assert run(monkeypatch, 'fpn.py', file, *stop, tool='test').startswith(message)
    message = f'error: calibration batch 1: {file}: a run took more than 0.2 seconds'
    int8 = 'backend_config.type=tensorrt', 'backend_config.common_config.int8_mode=True'
    assert run(monkeypatch, PRESET, *given, *stop, '--cfg-options', *int8).startswith(message)


@pytest.fixture
def noted_limits(monkeypatch):
    """The seconds that each run of an ONNX file may take, as they come."""
    limits = []

    class Noted(OnnxSession):
        def run(self, inputs):
            limits.append(self._timeout)
            return super().run(inputs)

    for module in (workflow, peaks, steps):
        monkeypatch.setattr(module, 'OnnxSession', Noted)
    return limits


def test_every_run_of_a_comparison_has_an_end(noted_limits, tmp_path):
    given = dict(checkpoint='fpn.pth', images=images()[:1], work_dir=tmp_path)
    deploy(DeploySettings(), read_config('fpn.py'), **given, timeout=60)
    assert noted_limits == [60, 60]


@pytest.mark.parametrize('file', ['end2end.engine', 'fpn.pth'])
def test_what_cannot_be_stopped_takes_no_timeout(monkeypatch, tmp_path, file):
    (tmp_path / 'end2end.engine').touch()
    model = tmp_path / file if file.endswith('engine') else file
    code = run(monkeypatch, 'fpn.py', model, '--timeout', 1, tool='test')
    assert re.match(rf'error: .*{file}: \w+ cannot stop a run. Leave the timeout out', code)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([PRESET, 'fpn.py', 'fpn.pth'], 'there is no image to compare on'),
        ([PRESET, 'fpn.py', 'fpn.pth', 'none.jpg'], 'none.jpg does not exist'),
        ([PRESET, 'fpn.py', 'upernet.pth', f'{SHAPES}/00000000.jpg'], 'upernet.pth'),
        (['preset.py', 'fpn.py', 'fpn.pth'], 'no config file preset.py'),
        (
            [PRESET, 'fpn.py', 'fpn.pth', '--cfg-options', 'onnx_config.size=3'],
            'onnx_config.size is unknown',
        ),
    ],
)
def test_wrong_input_ends_with_a_sentence(monkeypatch, tmp_path, arguments, message):
    code = run(monkeypatch, *arguments, '--work-dir', tmp_path)
    assert message in code
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / 'a.onnx').write_bytes(b'no graph')
    with pytest.raises(UserError, match='a.onnx cannot be run by ONNX Runtime: is it whole'):
        evaluate_graph(read_config('fpn.py'), tmp_path / 'a.onnx')
