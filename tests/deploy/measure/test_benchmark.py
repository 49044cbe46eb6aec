"""Configs, weights, exported files and timm's models, timed side by side."""

import csv
import importlib.util
import json
import re
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from mmtrtvit.deploy.backends.onnxruntime.layers import onnx_layers
from mmtrtvit.deploy.backends.tensorrt.build import build_engine
from mmtrtvit.deploy.measure.benchmark import Ending, benchmark
from mmtrtvit.deploy.measure.latency import latency_of
from mmtrtvit.deploy.measure.opening import Running
from mmtrtvit.deploy.measure.tables import format_result, format_shares
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import TimedOut

TOOL = Path(__file__).parents[3] / 'tools/benchmark.py'
FEW = Ending(rounds=3, warmup=1)


@pytest.fixture
def models(stand_in, on_cpu, graph, tmp_path):
    """An ONNX file, and an engine of it."""
    stand_in('10.16.1.11')
    onnx = graph(tmp_path / 'end2end.onnx')
    build_engine(
        onnx,
        tmp_path / 'end2end.engine',
        profiles=[dict(input=((1, 3, 32, 32), (1, 3, 64, 64), (2, 3, 64, 64)))],
    )
    return str(onnx), str(tmp_path / 'end2end.engine')


def run_tool(monkeypatch, *words):
    spec = importlib.util.spec_from_file_location('benchmark', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *map(str, words)])
    tool.run_tool(tool.main, tool.parse_args())


def test_an_onnx_file_and_an_engine(models):
    result = benchmark(models, size=(32, 48), batches=(1, 2), ending=FEW, layers=True)
    assert list(result.latencies) == [1, 2]
    for batch, latencies in result.latencies.items():
        assert list(latencies) == list(models)
        for each in latencies.values():
            assert 0 < each.median <= each.p90 <= each.p95 <= each.p99 and each.rounds == 3
            assert each.throughput < batch * 3 / each.median * 1e3
    names = ['/backbone/conv/Conv', '/Cast_1', '/Sum', '/Add']
    engine = result.layers[models[1]]
    assert [layer.name for layer in engine] == names
    assert [layer.milliseconds for layer in engine] == [0.001, 0.002, 0.003, 0.004]
    stages = format_shares(engine, 1).splitlines()
    assert stages[1].split() == ['0.001', '10.0', '1', 'backbone.conv']
    assert stages[2].split() == ['0.009', '90.0', '3', 'post-processing']
    assert stages[4:] == [
        '   ms     %  layers  slowest modules',
        '0.009  90.0       3  post-processing',
    ]
    assert {layer.module for layer in result.layers[models[0]]} - {'inserted by the runtime'} == {
        'backbone.conv',
        'post-processing',
    }
    text = format_result(result)
    for batch in ('1 image', '2 images'):
        assert f'milliseconds for {batch} of noise, 32 x 48' in text
    assert text.count('too few rounds') == 4  # of the comparison and the noise
    assert all(name in text for name in ('end2end.onnx', 'end2end.engine'))
    assert str(Path(models[0]).parent) not in text  # what both have in common


def test_the_tool_times_weights_as_well(models, small_models, monkeypatch, capsys, tmp_path):
    run_tool(
        monkeypatch,
        small_models / 'fpn.pth',
        models[0],
        '--config',
        small_models / 'fpn.py',
        '--shape',
        '64x64',
        '--rounds',
        2,
        '--warmup',
        1,
        '--threads',
        1,
        '--layers',
        '--csv',
        tmp_path / 'times.csv',
        '--figure',
        tmp_path / 'times.svg',
        '--against',
        'metric',
        '--metric',
        'mIoU',
        f'{models[0]}=70.5',
        f'{small_models / "fpn.pth"}=71',
        '--json',
        tmp_path / 'times.json',
    )
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / 'times.json').read_text())
    weights = str(small_models / 'fpn.pth')
    assert list(content['latencies']['1']) == [weights, models[0]]
    assert list(content['layers']) == [models[0]]
    assert 'fpn.pth\n' in printed and 'end2end.onnx\n' in printed
    assert content['environment']['mmtrtvit'] and content['arguments']['shape'] == [64, 64]
    with (tmp_path / 'times.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['model'] for row in rows] == [weights, models[0]]
    for row in rows:
        found = content['latencies']['1'][row['model']]
        assert {key: float(row[key]) for key in ('median', 'p99')} == {
            key: found[key] for key in ('median', 'p99')
        }
        assert row['metric_name'] == 'mIoU' and row['machine'] and row['date']
        assert int(row['memory']) == content['memory']['1'][row['model']]
    assert [(row['kind'], row['metric']) for row in rows] == [('weights', '71.0'), ('file', '70.5')]
    assert rows[1]['beside'] == weights and rows[1]['verdict'] == 'too few rounds'
    assert rows[0]['parameters'] == str(content['models'][weights]['parameters']) > '0'
    figure = (tmp_path / 'times.svg').read_text()
    assert all(f'<!-- {text} -->' in figure for text in ('mIoU', 'ONNX Runtime', 'PyTorch'))
    assert '64 x 64' in figure and figure.count('id="LineCollection') == 0


def test_the_batch_is_more_than_the_engine_takes(models):
    with pytest.raises(UserError, match='but got input 3x3x32x48'):
        benchmark(models, size=(32, 48), batches=(3,), ending=FEW)


def test_a_graph_without_an_end_is_stopped(endless, monkeypatch, tmp_path):
    path = endless(tmp_path / 'endless.onnx')
    words = path, '--shape', '8x8', '--timeout', '0.2'
    with pytest.raises(SystemExit, match='endless.onnx: a run took more than 0.2 seconds'):
        run_tool(monkeypatch, *words)


def test_layers_of_a_graph_without_an_end(endless, tmp_path):
    inputs = dict(input=np.ones((1, 3, 8, 8), np.float32))
    with pytest.raises(TimedOut, match='endless.onnx: a run took more than 0.2 seconds'):
        onnx_layers(endless(tmp_path / 'endless.onnx'), inputs, timeout=0.2)


def test_what_cannot_be_stopped_takes_no_timeout(models, tmp_path):
    with pytest.raises(UserError, match='end2end.engine: TensorRT cannot stop a run'):
        benchmark(models[1:], running=Running(timeout=1))
    with pytest.raises(UserError, match='x.pth: PyTorch cannot stop a run'):
        benchmark([tmp_path / 'x.pth'], 'config.py', running=Running(timeout=1))


def test_percentiles_are_those_of_numpy():
    times = np.random.default_rng(0).lognormal(size=321)
    found = latency_of(list(times), batch=4)
    expected = np.percentile(times, [50, 90, 95, 99])
    assert [found.median, found.p90, found.p95, found.p99] == pytest.approx(expected)
    assert found.throughput == pytest.approx(4000 * 321 / times.sum()) and found.rounds == 321
    low, high = found.bounds
    assert low < found.median < high and found.uncertainty == (high - low) / (high + low)


def test_a_config_and_a_classifier_of_timm_have_random_weights(small_models, capsys):
    """And a model beside itself has a number; nothing of MMEngine's log is shown."""
    pytest.importorskip('timm', minversion='1.0.31')
    names = [str(small_models / 'fpn.py'), 'timm:test_convnext', 'timm:test_convnext']
    result = benchmark(names, size=(64, 64), ending=FEW)
    assert list(result.models) == [*names[:2], 'timm:test_convnext #2']
    assert all(each.random and each.backend == 'pytorch' for each in result.models.values())
    assert all(each.parameters and each.macs for each in result.models.values())
    assert all(value is None or value > 0 for value in result.memory[1].values())
    assert {each.to for each in result.comparisons[1].values()} == {names[0]}
    assert 'With random weights, untrained: fpn.py, timm:test_convnext' in format_result(result)
    assert not capsys.readouterr().out


def test_until_medians_are_certain(models):
    """Or time is up, which the text tells."""
    certain = benchmark(models[:1], size=(8, 8), ending=Ending(most_uncertainty=0.9))
    assert certain.latencies[1][models[0]].rounds == 100 and certain.comparisons == {1: {}}
    assert 'Time was up' not in format_result(certain)
    result = benchmark(models[:1], size=(8, 8), ending=Ending(seconds=1e-6))
    assert result.latencies[1][models[0]].rounds == 1
    assert 'Time was up before the medians of' in format_result(result)


@pytest.fixture(scope='module')
def deployed(small_models, tmp_path_factory):
    """The work dir of a segmentor, whose graph is one convolution, and images of other sizes."""
    from mmtrtvit.deploy.description import describe, write_description
    from mmtrtvit.deploy.settings import DeploySettings
    from mmtrtvit.engine.config import read_config

    folder, images = tmp_path_factory.mktemp('deployed'), tmp_path_factory.mktemp('images')
    config = read_config(small_models / 'fpn.py')
    classes = config.test_dataloader.dataset.metainfo['classes']
    description = describe(
        config,
        DeploySettings(),
        net='end2end.onnx',
        classes=classes,
        palette=[(0, 0, 0)] * len(classes),
        checkpoint=small_models / 'fpn.pth',
    )
    write_description(folder, description)
    weights = ', '.join(['1'] * 3 * len(classes))
    graph = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[B, 3, H, W] input) => (float[B, {len(classes)}, H, W] output)
    <float[{len(classes)}, 3, 1, 1] weight = {{{weights}}}> {{ output = Conv (input, weight) }}"""
    onnx.save(onnx.parser.parse_model(graph), folder / 'end2end.onnx')
    for index, size in enumerate(((40, 60, 3), (70, 50, 3))):
        cv2.imwrite(str(images / f'{index}.png'), np.full(size, 128, np.uint8))
    return folder, images


def test_images_go_the_whole_way(deployed, small_models, monkeypatch, capsys, tmp_path):
    pytest.importorskip('timm', minversion='1.0.31')
    folder, images = deployed
    names = [str(folder), str(small_models / 'fpn.pth'), 'timm:test_convnext']
    words = ['--config', small_models / 'fpn.py', '--rounds', 4, '--warmup', 1, '--images', images]
    run_tool(monkeypatch, *names, *words, '--json', tmp_path / 'times.json')
    content = json.loads((tmp_path / 'times.json').read_text())
    assert list(content['stages']) == names and content['images'] == 2
    for name, stages in content['stages'].items():
        assert list(stages) == ['read', 'prepare', 'network', 'results']
        assert all(value > 0 for value in stages.values())
        assert stages['network'] < content['latencies']['1'][name]['p99']
    deployment, weights, timm = (content['models'][name] for name in names)
    assert (deployment['backend'], weights['backend']) == ('onnxruntime', 'pytorch')
    assert deployment['macs'] == weights['macs'] > 0 and timm['macs'] > 0
    assert 'an image, from the file to the result (2 images in turn)' in capsys.readouterr().out


def test_the_way_gives_what_the_predictor_finds(deployed, small_models):
    """The watched parts are those that predict; the times of the stages are the whole."""
    from mmtrtvit.deploy.measure.pipelines import of_predictor
    from mmtrtvit.engine.predictor import load

    predictor = load(small_models / 'fpn.py', small_models / 'fpn.pth', 'cpu')
    found = []
    pipeline = of_predictor(predictor)
    monkey = pipeline._predict
    pipeline._predict = lambda pixels: found.append(monkey(pixels))
    start = time.perf_counter()
    stages = pipeline.run(deployed[1] / '0.png')
    assert 0 < sum(stages.values()) <= (time.perf_counter() - start) * 1000
    (sample,) = predictor([deployed[1] / '0.png'])
    assert (found[0].labels == sample.pred_sem_seg.data[0].numpy()).all()
    assert pipeline.size == tuple(sample.img_shape)


BAD = {
    'unknown': (['no_model'], {}, 'no_model: no such model. Expected a config, weights'),
    'near': (['retinanet_trtvit_x'], {}, 'Did you mean retinanet_trtvit_'),
    'config': (['gone.py'], {}, 'gone.py: no such model. Expected a config'),
    'weights': (['gone.pth'], {}, 'gone.pth: there are no such weights'),
    'elsewhere': (['hf://a/b'], {}, 'hf://a/b: weights from elsewhere need the --config'),
    'timm': (['timm:resnet19'], {}, 'timm has no model resnet19. Did you mean resnet18'),
    'precision': (['x.onnx'], dict(running=Running(precision='bf16')), '--precision is for'),
    'images and shape': (['x.onnx'], dict(images=['a.png'], size=(8, 8)), 'leave --shape, --batch'),
    'metric': (['x.onnx'], dict(metrics={'y': 1.0}), '--metric y=...: that is none of the models'),
}


@pytest.mark.parametrize('names, options, message', BAD.values(), ids=BAD)
def test_what_cannot_be_timed(names, options, message, monkeypatch, tmp_path):
    if 'timm' in names[0]:
        pytest.importorskip('timm')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(message)):
        benchmark(names, **options)


def test_weights_without_a_config_beside_them(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(UserError, match='has 0 configs.*--config FILE'):
        benchmark([tmp_path / 'epoch_1.pth'])


def test_files_of_other_sizes(graph, tmp_path):
    for side in (32, 64):
        graph(tmp_path / f'{side}.onnx', size=(1, side, side))
    names = [str(tmp_path / f'{side}.onnx') for side in (32, 64)]
    with pytest.raises(UserError, match=f'not the same: {names[0]} of 32x32, {names[1]} of 64x64'):
        benchmark(names, ending=FEW)
    with pytest.raises(UserError, match=f'{names[0]}: the graph takes images of 1x3x32x32, not'):
        benchmark(names, size=(64, 64), ending=FEW)
    assert benchmark(names[1:], ending=FEW).size == (64, 64)


def test_a_classifier_of_one_size():
    pytest.importorskip('timm', minversion='1.0.31')
    with pytest.raises(UserError, match='timm:test_vit: the graph takes images of .x3x160x160'):
        benchmark(['timm:test_vit'], size=(64, 64), ending=FEW)
    assert benchmark(['timm:test_vit'], ending=FEW).size == (160, 160)


def test_images_without_a_pipeline(models, deployed):
    images = list(deployed[1].iterdir())
    with pytest.raises(UserError, match='end2end.onnx cannot be timed on --images.*deploy.json'):
        benchmark(models[:1], images=images)
    with pytest.raises(UserError, match='cannot use gone.png: .*gone.png'):
        benchmark([deployed[0]], images=['gone.png'])


def test_paths_that_are_no_images(monkeypatch, deployed, tmp_path):
    (tmp_path / 'video.mp4').touch()
    with pytest.raises(SystemExit, match='--images: .*video.mp4 is no image'):
        run_tool(monkeypatch, deployed[0], '--images', tmp_path)
    with pytest.raises(SystemExit, match='--images: .*gone'):
        run_tool(monkeypatch, deployed[0], '--images', tmp_path / 'gone')


def test_a_figure_without_its_quantity(models, monkeypatch, tmp_path):
    """Nothing has been timed or written before that is said."""
    figure = tmp_path / 'figure.png'
    with pytest.raises(SystemExit, match='against macs cannot be drawn, as the multiply-adds of'):
        run_tool(monkeypatch, models[0], '--figure', figure, '--shape', '8x8')
    words = '--figure', figure, '--against', 'metric', '--shape', '8x8'
    with pytest.raises(SystemExit, match='metrics of .* Give them as --metric MODEL=VALUE'):
        run_tool(monkeypatch, models[0], *words)
    with pytest.raises(SystemExit, match='figure.docx: no format of images'):
        run_tool(monkeypatch, models[0], '--figure', 'figure.docx')
    assert not figure.exists()


@pytest.mark.parametrize(
    'words',
    [
        ['--shape', '64'],
        ['--shape', '0x64'],
        ['--batch', '0'],
        ['--max-spread', '-1'],
        ['--metric', 'a=good'],
        ['--against', 'macs', '--csv', 'expected.csv'],
    ],
)
def test_wrong_values(models, monkeypatch, capsys, words):
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, models[0], *words)
    assert re.search('expected|is for --figure', capsys.readouterr().err)
