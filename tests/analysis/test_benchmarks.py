"""The scripts of benchmarks/, on the smallest images, and what they have in common."""

import importlib
import io
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.errors import UserError

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SCRIPTS = sorted(
    path.name
    for path in FOLDER.glob('*.py')
    if path.name not in ('common.py', 'efficientvit_peers.py', 'transfer_configs.py')
)
FAST = '--sizes', '64x64', '--rounds', '1', '--threads', '1'


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the folder."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def run(module, monkeypatch):
    """Does in this process what ``python benchmarks/SCRIPT ARGUMENTS`` does."""

    def run(script, *args):
        out, err, code = io.StringIO(), io.StringIO(), 0
        monkeypatch.setattr(sys, 'argv', [str(FOLDER / script), *map(str, args)])
        with redirect_stdout(out), redirect_stderr(err):
            try:
                tool = module(Path(script).stem)
                run_tool(tool.main, tool.parse_args())
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 1
                err.write(stop.code if isinstance(stop.code, str) else '')
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.mark.parametrize('script', SCRIPTS)
def test_help(run, script):
    done = run(script, '--help')
    assert done.returncode == 0, done.stderr
    assert f'python benchmarks/{script}' in done.stdout


def in_this_process(make, implementations, *args, settings, **labels):
    """Stands in for measure_apart."""
    functions = {name: make(name, *args, settings) for name in implementations}
    return importlib.import_module('common').measure(functions, settings, **labels)


@pytest.mark.parametrize('mode', ['inference', 'onnx', 'training'])
def test_outputs_equal_timm(run, module, mode, tmp_path, monkeypatch):
    pytest.importorskip('timm', minversion='1.0.31')
    if mode != 'inference':  # processes of their own only make times comparable
        monkeypatch.setattr(module('versus_timm'), 'apart', lambda _, call, *args: call(*args))
        monkeypatch.setattr(module('versus_timm'), 'measure_apart', in_this_process)
    out = tmp_path / 'new/results.csv'
    size = () if mode == 'inference' else ('--sizes', '96x128')
    done = run('versus_timm.py', mode, '--archs', 'm0', *FAST, *size, '--out', out)
    assert done.returncode == 0, done.stderr
    timm, ours = module('common').read(out)
    assert (timm['implementation'], ours['implementation']) == ('timm', 'mmtrtvit')
    tolerance = 1e-2 if mode == 'training' else 1e-5  # the last norms see a batch of 6 values
    assert float(timm['difference']) == 0 and float(ours['difference']) < tolerance
    assert float(timm['speedup']) > 0 and float(ours['speedup']) == 1
    assert (ours['model'], ours['mode']) == ('m0', mode)
    assert ours['command'].endswith('--out results.csv')
    if mode == 'onnx':
        done = run('versus_timm.py', 'onnx_fixed', '--archs', 'm0', *FAST, *size, '--out', out)
        assert done.returncode == 0, done.stderr
        *_, fixed_timm, fixed = module('common').read(out)
        for one, other in ((ours, timm), (fixed, fixed_timm), (fixed, ours)):
            assert all(int(one[key]) < int(other[key]) for key in ('nodes', 'slimmed_nodes'))
        assert float(fixed['difference']) < tolerance
    if mode == 'training':
        assert 0 < float(ours['memory_mb']) < 1000


@pytest.mark.parametrize('mode', ['inference', 'training'])
def test_bf16_beside_fp32(run, module, mode, tmp_path, monkeypatch):
    monkeypatch.setattr(module('bf16'), 'apart', lambda _, call, *args: call(*args))
    out = tmp_path / 'x.csv'
    model = '--models', 'efficientvit_m0', '--batches', '2'
    done = run('bf16.py', mode, *model, *FAST, '--out', out)
    assert done.returncode == 0, done.stderr
    rows = module('common').read(out)
    assert [row['implementation'] for row in rows] == ['fp32', 'bf16']
    assert float(rows[0]['speedup']) == 1 and float(rows[1]['difference']) > 0
    done = run('bf16.py', mode, *model, '--dtype', 'bf16')
    assert done.returncode == 1 and 'compares bf16 with fp32 on a CPU' in done.stderr


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_int8_is_timed_beside_fp32(run, module, runtime, tmp_path, monkeypatch):
    pytest.importorskip(runtime)
    monkeypatch.setattr(module('int8'), 'apart', lambda _, call, *args: call(*args))
    out = tmp_path / 'int8.csv'
    done = run('int8.py', runtime, '--models', 'efficientvit_m0', *FAST, '--out', out)
    assert done.returncode == 0, done.stderr
    (row,) = module('common').read(out)
    assert row['model'] == 'efficientvit_m0' and row['height'] == '64'
    ratio = float(row['fp32_ms']) / float(row['int8_ms'])
    assert float(row['speedup']) == pytest.approx(ratio, rel=1e-2)
    done = run('int8.py', '--dtype', 'fp16', *FAST)
    assert done.returncode == 1 and 'about runtimes on a CPU' in done.stderr


def test_a_process_of_its_own_has_the_threads_asked_for(module):
    common = module('common')
    settings = common.Conditions(threads=1)
    with common.threads(2):
        assert common._made(settings, lambda settings: torch.get_num_threads)() == 1


def test_no_official_code(run, tmp_path):
    done = run('versus_official.py', tmp_path, '--archs', 'm0', *FAST)
    assert done.returncode == 1
    assert f'error: {tmp_path}/EfficientViT/downstream/efficientvit.py does not' in done.stderr


# What the authors' file has, around our model: a train() that returns nothing, too.
OFFICIAL = """
from torch import nn

from mmtrtvit.weights.layouts import official_name
from mmtrtvit.models import EfficientViT as Ours

EfficientViT_m0 = {}


class EfficientViT(nn.Module):
    def __init__(self, kernels):
        super().__init__()
        self.model = Ours('m0')

    def load_state_dict(self, weights, strict):
        return self.model.load_state_dict(
            {name: weights[official_name(name)] for name in self.model.state_dict()})

    def train(self, mode=True):
        super().train(mode)

    def forward(self, x):
        return self.model(x)


def replace_batchnorm(model):
    pass
"""


def test_outputs_equal_the_official_ones(run, module, tmp_path, monkeypatch):
    monkeypatch.setattr(module('versus_official'), 'measure_apart', in_this_process)
    source = tmp_path / module('efficientvit_peers').SOURCE
    source.parent.mkdir(parents=True)
    source.write_text(OFFICIAL)
    done = run('versus_official.py', tmp_path, '--archs', 'm0', *FAST, '--out', tmp_path / 'x.csv')
    assert done.returncode == 0, done.stderr
    rows = module('common').read(tmp_path / 'x.csv')
    assert [row['implementation'] for row in rows] == [
        'official',
        'official channels_last',
        'mmtrtvit',
    ]
    assert all(float(row['difference']) < 1e-5 for row in rows)


def test_density(run, module, tmp_path):
    pytest.importorskip('timm')
    done = run(
        'density.py', '--models', 'trtvit_a', 'resnet50', *FAST, '--out', tmp_path / 'results.csv'
    )
    assert done.returncode == 0, done.stderr
    rows = {row['model']: row for row in module('common').read(tmp_path / 'results.csv')}
    for row in rows.values():
        speed = float(row['gflop']) / float(row['milliseconds'])
        assert float(row['teraflops']) == pytest.approx(speed, rel=2e-3)
        assert float(row['share_of_peak']) == pytest.approx(
            speed / float(row['peak_teraflops']), rel=2e-3
        )


def test_operations_are_two_for_each_multiply_add(module):
    density = module('density')
    gflop = density.count_operations(density.build('resnet50', (1, 3, 224, 224)), (1, 3, 224, 224))
    assert gflop == pytest.approx(2 * 4.087e9, rel=2e-3)  # published MACs, less the classifier
    assert density.count_operations(torch.nn.Conv2d(3, 8, 3), (1, 3, 10, 10)) == 2 * 27 * 8 * 64


def test_scaling(run, module, tmp_path):
    done = run(
        'scaling.py',
        '--models',
        'efficientvit_m0',
        '--rounds',
        '1',
        '--sizes',
        '64x64',
        '256x256',
        '--batches',
        '1',
        '2',
        '--out',
        tmp_path / 'results.csv',
    )
    assert done.returncode == 0, done.stderr
    rows = module('common').read(tmp_path / 'results.csv')
    assert [(row['batch'], row['height']) for row in rows] == [
        ('1', '64'),
        ('1', '256'),
        ('2', '64'),
        ('2', '256'),
    ]
    assert done.stdout.count('| efficientvit_m0 | area ') == 2


@pytest.mark.parametrize(
    'mode, options',
    [
        ('inference', ()),
        ('inference', ('--dtype', 'bf16')),
        ('training', ('--channels-last', '--dtype', 'bf16')),
    ],
)
def test_detectors(run, module, mode, options, tmp_path):
    pytest.importorskip('mmdet')
    out = tmp_path / 'results.csv'
    done = run(
        'detectors.py',
        mode,
        '--models',
        'retinanet_efficientvit_m0',
        'retinanet_r50',
        *FAST,
        '--sizes',
        '128x128',
        *options,
        '--out',
        out,
    )
    assert done.returncode == 0, done.stderr
    assert 'init_weights' not in done.stdout
    rows = module('common').read(out)
    assert [row['model'] for row in rows] == ['retinanet_efficientvit_m0', 'retinanet_r50']
    for row in rows:
        if mode == 'inference':
            parts = [float(row[part]) for part in ('backbone', 'neck', 'head', 'post_processing')]
            assert min(parts) > 0 and sum(parts) == pytest.approx(
                float(row['milliseconds']), rel=2e-3
            )
        else:
            assert float(row['images_per_second']) == pytest.approx(
                1000 / float(row['milliseconds']), rel=2e-3
            )


@pytest.mark.parametrize('power', [0.5, 1, 2])
def test_the_exponent_of_a_power(module, power):
    scaling = module('scaling')
    sides = 256, 512, 800
    rows = [
        dict(
            model='x',
            batch=batch,
            height=side,
            width=side,
            memory_mb=3 * side**2 * batch,
            milliseconds=5 * (side**2) ** power * batch**1.5,
        )
        for side in sides
        for batch in (1, 4)
    ]
    found = {(row['over'], row['cost']): row['exponent'] for row in scaling.growths(rows)}
    assert found == pytest.approx(
        {
            ('area', 'milliseconds'): power,
            ('area', 'memory_mb'): 1,
            ('batch', 'milliseconds'): 1.5,
            ('batch', 'memory_mb'): 1,
        }
    )


def test_a_repeated_measurement_replaces_the_older_one(module, tmp_path):
    common, out = module('common'), tmp_path / 'results.csv'
    first = [dict(model='a', batch=1, milliseconds=1.0), dict(model='a', batch=2, milliseconds=2.0)]
    common.save(first, 'x', common.Conditions(threads=2), (), out)
    common.save(
        [dict(first[1], milliseconds=3.0, nodes=7)], 'x', common.Conditions(threads=2), (), out
    )
    common.save(first[:1], 'x', common.Conditions(threads=1), (), out)
    rows = common.read(out)
    assert [(row['batch'], row['threads'], row['milliseconds'], row['nodes']) for row in rows] == [
        ('1', '2', '1', ''),
        ('2', '2', '3', '7'),
        ('1', '1', '1', ''),
    ]
    assert list(tmp_path.iterdir()) == [out]


def test_differences_are_relative_to_the_largest_value(module):
    reference = [torch.tensor([1.0, -10.0]), torch.tensor([0.5])]
    outputs = [torch.tensor([2.0, -10.0]), torch.tensor([0.5])]
    assert module('common').difference(outputs, reference) == pytest.approx(0.1)


def test_no_gpu(run):
    done = run('versus_timm.py', 'inference', '--device', 'cuda')
    assert done.returncode == 1 and 'error: --device cuda: PyTorch finds no GPU' in done.stderr
    done = run('versus_timm.py', 'inference', '--cuda-graphs')
    assert done.returncode == 1 and '--cuda-graphs needs --device cuda' in done.stderr
    done = run('on_gpu.py')
    assert done.returncode == 1 and 'PyTorch finds no GPU' in done.stderr


def test_comparisons_on_a_gpu_have_options_that_exist(module, monkeypatch):
    on_gpu, seen = module('on_gpu'), []
    for name, *options in on_gpu.comparisons(Path('Cream')):
        monkeypatch.setattr(sys, 'argv', [name, *options])
        args = module(name).parse_args()
        assert args.device == 'cuda'
        seen.append(name)
    assert set(seen) == {'versus_timm', 'versus_official', 'density', 'scaling', 'detectors'}
    assert 'versus_official' not in {name for name, *_ in on_gpu.comparisons(None)}


def test_comparisons_on_a_gpu_go_on_after_one_that_failed(module, monkeypatch, capsys):
    on_gpu, commands = module('on_gpu'), []

    def call(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, '--compile' in command)

    monkeypatch.setattr(on_gpu, 'conditions', lambda args: None)
    monkeypatch.setattr(on_gpu.subprocess, 'run', call)
    monkeypatch.setattr(sys, 'argv', ['on_gpu.py'])
    args = on_gpu.parse_args()
    with pytest.raises(UserError) as error:
        on_gpu.main(args)
    assert len(commands) == len(list(on_gpu.comparisons(None)))
    assert commands[0][:2] == [sys.executable, FOLDER / 'versus_timm.py']
    told = str(error.value).splitlines()[1:]
    assert told and all('--compile' in line for line in told)
    args.minutes = -1
    on_gpu.main(args)
    assert capsys.readouterr().out.count('left out: ') == len(commands)


@pytest.mark.gpu
def test_a_recorded_call_keeps_its_weights(module):
    settings = module('common').Conditions(device='cuda', cuda_graphs=True)
    x = settings.random((64, 512))

    def record():
        layer = settings.place(torch.nn.Linear(512, 512))
        return layer(x).detach(), settings.inference(layer, x)

    expected, replay = record()
    torch.cuda.empty_cache()
    settings.random((4096, 4096))  # takes what was freed
    torch.testing.assert_close(replay(), expected)


def test_tables_of_a_document(module, tmp_path, monkeypatch):
    tables, common = module('tables'), module('common')
    monkeypatch.setattr(tables, 'RESULTS', tmp_path)
    common.save(
        [dict(model='a', milliseconds=1.25)],
        'x',
        common.Conditions(threads=2),
        (),
        tmp_path / 'x.csv',
    )
    text = 'Before\n<!-- table: x.csv: model milliseconds -->\nold\n<!-- end of table -->\nafter\n'
    new = tables.with_tables(text)
    assert '| a     | 1.25         |' in new and 'old' not in new and '2 threads, fp32' in new
    assert new.startswith('Before\n') and new.endswith('after\n')
    assert tables.with_tables(new) == new
    for wrong, message in (('y.csv', 'y.csv does not exist'), ('x.csv: speed', "['speed']")):
        with pytest.raises(UserError) as error:
            tables.with_tables(
                text.replace('x.csv', wrong, 1).replace(': model', '', 1)
                if 'speed' in wrong
                else text.replace('x.csv', wrong)
            )
        assert message in str(error.value)


@pytest.mark.parametrize('name, tables', [('speed', 4), ('models', 2)])
def test_the_tables_of_the_docs_are_those_of_the_results(module, name, tables):
    page = (FOLDER.parent / f'docs/{name}.md').read_text()
    assert module('tables').with_tables(page) == page
    assert page.count('<!-- table: ') >= tables


def test_precisions(module, run, tmp_path):
    precisions = module('precisions')
    assert precisions.percent_of({'mIoU': 65.5, 'aAcc': 90}) == ('mIoU', 65.5)
    found = precisions.percent_of({'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.25})
    assert found == ('coco/segm_mAP', 25)
    with pytest.raises(UserError, match='only loss'):
        precisions.percent_of({'loss': 1.0})
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(3, 5)), optimizer=torch.zeros(99)), weights)
    in_pytorch = {kind.precision: kind for kind in precisions.KINDS[:2]}
    assert precisions.size_of(weights, in_pytorch['fp32']) == 60
    assert precisions.size_of(weights, in_pytorch['bf16']) == 30
    configs = {kind.deploy_config for kind in precisions.KINDS[2:]}
    assert all((FOLDER.parent / f'configs/deploy/{name}.py').is_file() for name in configs)
    done = run('precisions.py', tmp_path / 'nowhere')
    assert done.returncode == 1 and 'no such folder' in done.stderr


def test_a_range_in_a_document(module, tmp_path, monkeypatch):
    tables, common = module('tables'), module('common')
    monkeypatch.setattr(tables, 'RESULTS', tmp_path)
    rows = [
        dict(model=str(index), implementation=name, speedup=speedup)
        for index, (name, speedup) in enumerate([('a b', 1.5), ('a b', 2.25), ('c', 9)])
    ]
    common.save(rows, 'x', common.Conditions(threads=2), (), tmp_path / 'x.csv')
    head = '| ours | <!-- range: x.csv: implementation=a b: speedup -->'
    text = head + 'old<!-- end of range --> | <!-- range: x.csv: model=2: speedup -->'
    new = tables.with_tables(text + '<!-- end of range -->')
    assert new.startswith(head + '1.50 to 2.25<!-- end of range --> |')
    assert new.endswith('-->9.00<!-- end of range -->')
    for wrong, message in (
        ('model=3', "no row whose model is '3'"),
        ('name=2', 'has no columns name'),
    ):
        with pytest.raises(UserError, match=message):
            tables.with_tables(text.replace('model=2', wrong) + '<!-- end of range -->')


def test_a_table_beside_what_is_published(module, tmp_path, monkeypatch):
    tables, common = module('tables'), module('common')
    monkeypatch.setattr(tables, 'RESULTS', tmp_path)
    monkeypatch.setattr(tables, 'PUBLISHED', tmp_path / 'published')
    (tmp_path / 'published').mkdir()
    (tmp_path / 'published/p.csv').write_text('model,top1,source\nb,,\na,82.7,the paper\n')
    rows = [dict(model=name, milliseconds=1.25) for name in 'abc']
    common.save(rows, 'x', common.Conditions(threads=2), (), tmp_path / 'x.csv')
    text = '<!-- table: x.csv + p.csv: model milliseconds top1 -->\n<!-- end of table -->'
    lines = tables.with_tables(text).splitlines()
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[3:6]]
    assert cells == [['a', '1.25', '82.7'], ['b', '1.25', ''], ['c', '1.25', '']]
    alone = '<!-- table: p.csv: model top1 source -->\n<!-- end of table -->'
    lines = tables.with_tables(alone).splitlines()
    assert lines[3].split() == '| a | 82.7 | the paper |'.split()
    assert lines[4] == '<!-- end of table -->'
    with pytest.raises(UserError, match='q.csv does not exist'):
        tables.with_tables(text.replace('p.csv', 'q.csv'))


def test_ablations(module, tmp_path, monkeypatch):
    """The questions are those of the configs, and two networks are timed."""
    pytest.importorskip('mmpretrain')
    ablations, published = module('ablations'), module('common').PUBLISHED
    models = {model for models in ablations.QUESTIONS.values() for model in models}
    configs = {path.stem for path in (FOLDER.parent / 'configs/ablations').glob('*.py')}
    assert models == configs | {'trtvit_c', 'efficientvit_m4'}
    assert models <= {row['model'] for row in module('common').read(published / 'imagenet.csv')}
    small = 'efficientvit_m4', 'efficientvit_m4_without_cascade'
    monkeypatch.setitem(ablations.QUESTIONS, 'efficientvit', small)
    settings = module('common').Conditions(rounds=2)
    rows = ablations.measured('efficientvit', (1, 3, 64, 64), settings)
    assert [row['model'] for row in rows] == [*small]
    assert {row['parameters'] for row in rows} == {'8.80M'} and rows[0]['milliseconds'] > 0


def test_the_figure_of_the_readme_is_that_of_the_results(module):
    figures = module('figures')
    rows = module('common').read(figures.MEASURED)
    texts = re.findall(r'>([^<>]+)</text>', (FOLDER.parent / 'docs/images/speed.svg').read_text())
    figure = figures.draw(rows)
    (axes,) = figure.axes
    assert axes.get_title() in texts and rows[0]['machine'] in axes.get_title()
    trt_vit, efficientvit, resnet = (line.get_ydata() for line in axes.lines)
    row = next(row for row in rows if row['model'] == 'retinanet_trtvit_b')
    assert trt_vit[1] == float(row['backbone'])
    assert [len(trt_vit), len(efficientvit), len(resnet)] == [4, 6, 1]
    names = {text.get_text() for text in axes.texts}
    assert names > {'A', 'D', 'M0', 'M5'} and names - {''} <= {*texts}


def test_the_figure_needs_the_threshold_that_all_were_measured_with(module):
    rows = [
        dict(model='retinanet_trtvit_b', score_threshold='0', backbone='2'),
        dict(model='retinanet_trtvit_b', score_threshold='0.05', backbone='3'),
        dict(model='mask_rcnn_trtvit_b', score_threshold='0', backbone='4'),
    ]
    assert module('figures').times(rows, 'retinanet_trtvit_') == {'retinanet_trtvit_b': 2}


def test_the_numbers_of_the_readme_are_those_of_the_results(module):
    common = module('common')
    page = (FOLDER.parent / 'README.md').read_text()
    commands = dict(re.findall(r'^<sup>(\d)</sup> `(python benchmarks/.+?)`', page, re.M))
    numbers = re.findall(r'^\| .+? \| ([\d.]+) \| ([\d.]+) \(.+<sup>(\d)</sup> \|$', page, re.M)
    assert len(numbers) == 3
    measured = [row for path in common.RESULTS.glob('*.csv') for row in common.read(path)]
    for *milliseconds, note in numbers:
        rows = [row for row in measured if row['command'] == commands[note]]
        assert {*milliseconds} <= {row['milliseconds'] for row in rows}


@pytest.mark.parametrize('model', ['trtvit_a', 'efficientvit_m2'])
@pytest.mark.parametrize('kind', ['folders', 'coco'])
def test_both_trainings_of_transfer_differ_in_the_start_alone(module, kind, model, tmp_path):
    from mmtrtvit.engine.config import read_config

    transfer = module('transfer')
    make = transfer.classifier if kind == 'folders' else transfer.detector
    options = dict(batch=4, size=64, epochs=3, seed=1)
    configs = []
    for backbone in (None, tmp_path / 'backbone.pth'):
        path = tmp_path / 'config.py'
        path.write_text(make(model, tmp_path, ('a', 'b'), backbone=backbone, **options))
        configs.append(read_config(path))
    scratch, begun = configs
    assert begun.model.backbone.pop('init_cfg').checkpoint == str(tmp_path / 'backbone.pth')
    assert begun.model == scratch.model and begun.train_dataloader == scratch.train_dataloader
    assert begun.randomness.seed == 1 and begun.train_cfg.max_epochs == 3
    head = begun.model.head if kind == 'folders' else begun.model.bbox_head
    assert head.num_classes == 2


def test_a_pupil_of_transfer_learns_without_labels(module, tmp_path):
    from mmtrtvit.engine.config import read_config

    transfer = module('transfer')
    (tmp_path / 'images').mkdir()
    (tmp_path / 'train.json').write_text('{"images": [{"file_name": "1.jpg"}]}')
    args = SimpleNamespace(coco=True, data=tmp_path)
    assert transfer.training_images(args) == ['images/1.jpg']
    text = transfer.distilled(
        'efficientvit_m0', tmp_path, 'images.txt', 'teacher.pth', size=64, batch=4, epochs=3
    )
    (tmp_path / 'config.py').write_text(text)
    config = read_config(tmp_path / 'config.py')
    assert config.model.type == 'DistilledClassifier' and config.model.label_weight == 0
    data = config.train_dataloader.dataset
    assert (data.data_root, data.ann_file, data.with_label) == (str(tmp_path), 'images.txt', False)
    assert config.val_dataloader is None


def test_the_last_validation_of_a_transfer_counts(module, tmp_path):
    transfer = module('transfer')
    log = tmp_path / 'run/1/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 9}\n{"accuracy/top1": 50.5}\n{"accuracy/top1": 40}\n')
    assert transfer.last(tmp_path / 'run') == ('accuracy/top1', 40)
    with pytest.raises(UserError, match='has no validation'):
        transfer.last(tmp_path / 'none')
    values = dict(scratch={0: 1.0, 1: 2.0, 2: 4.0}, contours={0: 2.0, 1: 3.0, 2: 2.5})
    scratch, contours = transfer.summary(values, dict(data='d'))
    assert scratch | dict(start='') == dict(
        data='d',
        start='',
        seed_0='1.0',
        seed_1='2.0',
        seed_2='4.0',
        median='2.0',
        spread='3.0',
        gain='',
    )
    assert (contours['median'], contours['spread'], contours['gain']) == ('2.5', '1.0', '+0.5')


def test_every_published_network_can_be_built(module):
    timm = pytest.importorskip('timm', minversion='1.0.31')
    claims = module('claims')
    networks = claims.chosen(None)
    assert all(claims.ours(name) or timm.is_model(name) for name in networks)
    assert all(networks[name]['source'] for name in networks if not claims.ours(name))
    assert networks['efficientvit_m5']['published_top1'] == '77.1'
    assert {row['peer'] for row in claims.read(claims.PUBLISHED / 'claims.csv')} - {*networks} == {
        'CSWin-T'
    }


@pytest.mark.parametrize('mode', ['traced', 'onnx'])
def test_claims_are_measured_side_by_side(module, mode):
    pytest.importorskip('timm', minversion='1.0.31')
    claims, common = module('claims'), module('common')
    networks = claims.chosen(['efficientvit_m0', 'mobilenetv4_conv_small.e2400_r224_in1k'])
    found = claims.measure(networks, mode, 1, common.Conditions(rounds=2))
    assert [row['implementation'] for row in found] == ['fused', 'timm']
    assert all(row['milliseconds'] > 0 and row['mode'] == mode for row in found)


def test_claims_stand_beside_what_was_measured(module):
    claims = module('claims')
    times = dict(efficientvit_m5=40.0, efficientvit_m2=10.0)
    times |= {'mobilenetv3_large_100.ra_in1k': 50.0}
    found = dict(mode='onnx', batch=16)
    rows = claims.claims([found | dict(model=name, milliseconds=t) for name, t in times.items()])
    assert [row['published'] for row in rows] == ['1.404', '1.452']  # M2's peer was not measured
    assert all(row['measured'] == 1.25 and row['batch'] == 16 for row in rows)
    common = module('common')
    assert len({common._key(row) for row in rows}) == len(rows)


def test_the_figure_joins_the_best(module):
    columns = dict(batch=1, mode='onnx', dtype='fp32', machine='a', threads=1, versions='', date='')
    columns |= dict(distilled='')
    points = [('trtvit_c', 9, '82.7'), ('shvit_s1', 2, '72.8'), ('slow_one', 3, '70.0')]
    points += [('trtvit_b', 5, '')]
    rows = [dict(columns, model=name, milliseconds=time, top1=top1) for name, time, top1 in points]
    (axes,) = module('claims').draw(rows).axes
    best, *others = axes.lines
    assert list(best.get_xdata()) == [2.0, 9.0] and len(others) == 3


def test_claims_of_an_unknown_network(module):
    with pytest.raises(UserError, match='Did you mean efficientvit_m5'):
        module('claims').chosen(['efficientvit_m6'])
