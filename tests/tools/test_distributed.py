"""The launch scripts, and trainings and evaluations of two real processes on the CPU."""

import inspect
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmtrtvit.datasets import make_shapes
from mmtrtvit.engine import distributed, evaluate, read_config, train
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.engine.hooks import _RemoveLater
from mmtrtvit.engine.runner import draw_to, resume_from
from mmtrtvit.errors import UserError
from mmtrtvit.tables import format_table
from mmtrtvit.weights.checkpoints import is_sharded, read_weights, state_dict_of

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
SCRIPTS = ('dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh')
LIMIT = 200  # seconds that a run may take before it counts as hung

# Nothing random, and BatchNorm frozen: two processes of two images do what one does with four.
DETECTOR = f"""
_base_ = '{ROOT}/configs/demo/retinanet_trtvit_b.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)), norm_eval=True),
    neck=dict(in_channels=[32, 64, 64], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=1),
    test_cfg=dict(score_thr=0.))
data_root = '{{data}}/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
train_dataloader = dict(
    batch_size=2, num_workers=0, batch_sampler=None,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_validation.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='SGD', lr=0.02, momentum=0.9),
    clip_grad=dict(max_norm=2.))
param_scheduler = None
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=2))
log_processor = dict(window_size=1)
randomness = dict(seed=3)
"""

SEGMENTOR = f"""
_base_ = '{ROOT}/configs/_base_/default_runtime.py'
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[128] * 3, std=[64] * 3, size=(64, 64), seg_pad_val=255),
    backbone=dict(
        type='EfficientViT', arch=dict(
            channels=(32, 32, 32), depths=(1, 1, 1), heads=(1, 1, 1), kernels=(3,)),
        norm_eval=True),
    decode_head=dict(
        type='FPNHead', in_channels=[32] * 3, in_index=[0, 1, 2], channels=16, norm_cfg=None,
        feature_strides=[16, 32, 64], num_classes=4, dropout_ratio=0.,
        loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='whole'))

def loader(split):
    return dict(
        batch_size=2, num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=split == 'training'),
        dataset=dict(
            type='BaseSegDataset', data_root='{{data}}',
            metainfo=dict(classes=('background', 'disc', 'triangle', 'ring')),
            data_prefix=dict(img_path='images/' + split, seg_map_path='annotations/' + split),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                      dict(type='PackSegInputs')]))

train_dataloader = loader('training')
val_dataloader = test_dataloader = loader('validation')
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(
    logger=dict(interval=1), visualization=dict(type='SegVisualizationHook'))
log_processor = dict(window_size=1)
visualizer = dict(type='SegLocalVisualizer')
randomness = dict(seed=3)
"""

KILLED = """
_base_ = 'detector.py'
custom_imports = dict(imports=['mmtrtvit', 'kill'])
custom_hooks = [dict(type='KillHook')]
"""

KILL = """
import os, signal, time
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class KillHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if get_rank() == 1 and runner.iter == 4:  # the second of three iterations of epoch 2
            with open('killed', 'w') as file:
                file.write(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
"""

# What is started by two processes in turn, as starting takes longer than training.
SEVERAL = """
from pathlib import Path
from mmtrtvit.engine import read_config, train
from mmtrtvit.engine.distributed import leave_processes

def run(config, work_dir, resume=None, **options):
    options['experiment_name'] = options['visualizer.name'] = f'{work_dir}_{resume}'
    train(read_config(config, options, work_dir=work_dir, launcher='pytorch'), resume)

run('segmentor.py', 'segmentor')
run('flexible.py', 'flexible')
run('fsdp.py', 'fsdp', **{'train_cfg.max_epochs': 1})
run('fsdp.py', 'fsdp', resume='auto')
leave_processes()
left = [name for name in Path('/proc/self/task').glob('*/comm') if 'gloo' in name.read_text()]
assert not left, 'threads of Gloo are left'
"""


def strategy_config(name, base='detector.py'):
    """A config of ours for several devices, over a detector here instead of TRT-ViT-D's."""
    text = (ROOT / f'configs/distributed/retinanet_trtvit_d_{name}.py').read_text()
    assert text.count("'../retinanet_trtvit_d.py'") == 1
    return text.replace('../retinanet_trtvit_d.py', base)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A user's folder: data with 12 training and 5 validation images, configs, modules.

    Every training image has the boxes of the first one: RetinaNet divides its loss by the number
    of boxes that a process sees, so that other halves of a batch would weigh differently.
    """
    folder = tmp_path_factory.mktemp('user')
    data = folder / 'data/shapes'
    make_shapes(data, 12, val=5, size=64)
    file = data / 'annotations/instances_training.json'
    coco = json.loads(file.read_text())
    first = [box for box in coco['annotations'] if box['image_id'] == coco['images'][0]['id']]
    coco['annotations'] = [
        dict(box, image_id=image['id'], id=100 * number + index)
        for number, image in enumerate(coco['images'], 1)
        for index, box in enumerate(first)
    ]
    file.write_text(json.dumps(coco))
    files = {
        'detector.py': DETECTOR.replace('{data}', str(data)),
        'segmentor.py': SEGMENTOR.replace('{data}', str(data)),
        'flexible.py': "_base_ = 'detector.py'\nrunner_type = 'FlexibleRunner'\n",
        'fsdp.py': strategy_config('fsdp'),
        'plain.py': "_base_ = 'detector.py'\noptim_wrapper = dict(_delete_=True, optimizer=dict("
        "type='SGD', lr=0.02, momentum=0.9))\n",
        'zero.py': strategy_config('deepspeed', 'plain.py')
        + 'strategy.update(gradient_clipping=2., config=dict(zero_allow_untested_optimizer=True))',
        'killed.py': KILLED,
        'kill.py': KILL,
        'several.py': SEVERAL,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def start(folder, command, **variables):
    """Starts a command on CPUs in ``folder``; its standard streams become one."""
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = dict(
        os.environ,
        PYTHON=sys.executable,
        PYTHONPATH=path,
        CUDA_VISIBLE_DEVICES='',
        OMP_NUM_THREADS='1',
        **variables,
    )
    for name in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        if name not in variables:
            environment.pop(name, None)
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process, limit=LIMIT):
    """Waits for a process, and ends it if it hangs."""
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its processes, too
        out, _ = process.communicate()
        pytest.fail(f'hung for {limit} seconds:\n{out[-3000:]}')
    return SimpleNamespace(code=process.returncode, out=out)


def run(folder, script, *args, limit=LIMIT, **variables):
    return finish(start(folder, [TOOLS / script, *args], **variables), limit)


def free_port():
    with socket.socket() as stream:
        stream.bind(('localhost', 0))
        return str(stream.getsockname()[1])


def curve(work_dir):
    """Returns what the newest run in a work dir logged, but for times."""
    file = max(work_dir.glob('*/vis_data/scalars.json'), key=os.path.getmtime)
    rows = map(json.loads, file.read_text().splitlines())
    return [{key: value for key, value in row.items() if 'time' not in key} for row in rows]


def assert_same_training(run, reference, since=0):
    """Equal losses in every iteration, equal metrics after every epoch, and equal weights.

    There are two epochs of three iterations and a validation; ``since`` is the first to compare.
    """
    ours, theirs = curve(run), curve(reference)[4 * since :]
    assert len(ours) == len(theirs) == 8 - 4 * since
    for row, expected in zip(ours, theirs):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)
    ours, theirs = (state_dict_of(read_weights(path / 'epoch_2.pth')) for path in (run, reference))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-3, atol=1e-5, msg=key)


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train_here(folder, config, work_dir):
    """Trains in this process, with the double batch."""
    options = {'train_dataloader.batch_size': 4, 'visualizer.name': work_dir}
    return train(read_config(folder / config, options, work_dir=folder / work_dir))


@pytest.fixture(scope='module')
def one(folder):
    """The detector trained by one process with a batch of four."""
    return train_here(folder, 'detector.py', 'one')


@pytest.fixture(scope='module')
def two(folder):
    """The same by two processes with batches of two."""
    return run(folder, 'dist_train.sh', 'detector.py', 2, '--work-dir', 'two')


@pytest.fixture(scope='module')
def broken(folder):
    """The same, but the second process is killed in epoch 2; and then resumed on two machines."""
    killed = run(folder, 'dist_train.sh', 'killed.py', 2, '--work-dir', 'broken')
    killed.seconds = time.time() - float((folder / 'killed').read_text())
    killed.left = sorted(path.name for path in (folder / 'broken').glob('epoch_*.pth'))
    machines = dict(NNODES='2', MASTER_ADDR='localhost', PORT=free_port())
    command = [TOOLS / 'dist_train.sh', 'detector.py', 1, '--work-dir', 'broken', '--resume']
    second = start(folder, command, NODE_RANK='1', **machines)
    first = finish(start(folder, command, NODE_RANK='0', **machines))
    return SimpleNamespace(killed=killed, resumed=(first, finish(second)))


@pytest.fixture(scope='module')
def several(folder):
    """The segmentor, and the detector with DDP and with FSDP of the FlexibleRunner."""
    return finish(
        start(folder, ['bash', '-c', f'source {TOOLS}/launch.sh; tools=.; launch 2 several.py'])
    )


def test_two_processes_train_like_one_with_the_double_batch(one, two, folder):
    assert two.code == 0, two.out
    assert_same_training(folder / 'two', one.work_dir)
    assert curve(one.work_dir)[0]['loss'] != pytest.approx(curve(one.work_dir)[6]['loss'], rel=0.01)
    assert 'Batch size 4 (2 x 2), learning rate 0.02.' in two.out


def test_sync_batch_norm_becomes_batch_norm_on_a_cpu(two):
    assert two.out.count('SyncBatchNorm needs GPUs: 22 layers become BatchNorm') == 1


def test_only_the_first_process_reports(two, folder):
    assert two.out.count(f'checkpoint  {folder}/two/epoch_2.pth') == 1
    assert two.out.count('Batch size 4') == 1


def test_every_image_is_evaluated_once(two, folder):
    """Five images on two processes, one of which gets an image twice."""
    result = run(
        folder, 'dist_test.sh', 'detector.py', 'two', 2, '--work-dir', 'tested', '--out', 'two.pkl'
    )
    assert result.code == 0, result.out
    metrics = evaluate(
        read_config(folder / 'detector.py', work_dir=folder / 'tested'),
        folder / 'two',
        out=folder / 'one.pkl',
    )
    assert metrics['coco/bbox_mAP'] > 0
    assert result.out.count(format_table(metrics)) == 1
    ours, expected = (pickle.loads((folder / name).read_bytes()) for name in ('two.pkl', 'one.pkl'))
    assert [image['img_id'] for image in ours] == [0, 1, 2, 3, 4]
    for image, reference in zip(ours, expected):
        assert image['img_path'] == reference['img_path']
        for key, value in reference['pred_instances'].items():
            torch.testing.assert_close(image['pred_instances'][key], value, rtol=1e-4, atol=1e-4)


def test_a_killed_process_ends_the_training(broken):
    assert broken.killed.code == 1
    assert broken.killed.seconds < 40  # torchrun gives the others half a minute to end
    assert 'Signal 9 (SIGKILL)' in broken.killed.out
    assert broken.killed.left == ['epoch_1.pth']


def test_the_training_resumes_on_two_machines(broken, one, folder):
    first, second = broken.resumed
    assert (first.code, second.code) == (0, 0), first.out + second.out
    assert len(re.findall(r'starts from +\S*epoch_1\.pth, resumed', first.out)) == 1
    assert f'checkpoint  {folder}/broken/epoch_2.pth' in first.out
    assert 'checkpoint  ' not in second.out
    assert_same_training(folder / 'broken', one.work_dir, since=1)


def test_two_processes_train_a_segmentor_like_one(several, folder):
    assert several.code == 0, several.out
    assert_same_training(
        folder / 'segmentor', train_here(folder, 'segmentor.py', 'segmentor_one').work_dir
    )


def test_the_flexible_runner_trains_with_ddp(several, one, folder):
    assert_same_training(folder / 'flexible', one.work_dir)


def test_fsdp_trains_and_resumes(several, one, folder):
    """One epoch, then another from its checkpoint: equal to two epochs without sharding."""
    assert re.search(r'starts from +\S*epoch_1\.pth, resumed', several.out)
    assert_same_training(folder / 'fsdp', one.work_dir, since=1)


def test_a_sharded_training_is_evaluated_by_one_process(several, folder):
    metrics = evaluate(read_config(folder / 'fsdp.py', work_dir=folder / 'tested'), folder / 'fsdp')
    expected = curve(folder / 'fsdp')[-1]
    assert metrics == pytest.approx({key: expected[key] for key in metrics})


@pytest.mark.slow
def test_deepspeed_trains_resumes_and_is_evaluated(folder, one):
    pytest.importorskip('deepspeed', reason='DeepSpeed is not installed')
    for epochs, resume in ((1, []), (2, ['--resume'])):
        result = run(
            folder,
            'dist_train.sh',
            'zero.py',
            2,
            '--work-dir',
            'zero',
            *resume,
            '--cfg-options',
            f'train_cfg.max_epochs={epochs}',
            limit=500,
        )  # it compiles
        assert result.code == 0, result.out
        losses = [row['loss'] for row in curve(folder / 'zero') if 'loss' in row]
        expected = [row['loss'] for row in curve(one.work_dir) if 'loss' in row]
        assert losses == pytest.approx(expected[3 * epochs - 3 : 3 * epochs], rel=1e-4)
    assert is_sharded(folder / 'zero/epoch_2.pth')
    merge = [sys.executable, 'zero/zero_to_fp32.py', 'zero', 'merged', '--tag', 'epoch_2.pth']
    subprocess.run(merge, cwd=folder, check=True)
    metrics = evaluate(
        read_config(folder / 'zero.py', work_dir=folder / 'tested'),
        folder / 'merged/pytorch_model.bin',
    )
    assert metrics == pytest.approx({key: curve(folder / 'zero')[-1][key] for key in metrics})


def test_a_mistake_is_reported_once(folder):
    result = run(folder, 'dist_train.sh', 'detektor.py', 2)
    assert result.code == 1
    assert result.out.count('error: no config file detektor.py. Did you mean detector.py') == 1


@pytest.mark.parametrize('script', SCRIPTS)
def test_usage(script, tmp_path):
    shown = finish(start(tmp_path, [TOOLS / script, '--help']))
    assert shown.code == 0
    assert f'usage: tools/{script} ' in shown.out and '#' not in shown.out
    assert run(tmp_path, script, 'config.py') == SimpleNamespace(code=2, out=shown.out)


@pytest.mark.parametrize(
    'variables, gpus, message',
    [
        ({}, '--resume', "error: GPUS is '--resume', expected a number"),
        ({}, '0', "error: GPUS is '0', expected a number"),
        (
            {'NNODES': '2', 'NODE_RANK': '1'},
            '2',
            'error: NNODES is 2, so set NODE_RANK and MASTER_ADDR, too',
        ),
    ],
)
def test_wrong_arguments(tmp_path, variables, gpus, message):
    result = run(tmp_path, 'dist_train.sh', 'config.py', gpus, **variables)
    assert result.code == 2 and result.out.startswith(message)


def test_slurm(tmp_path):
    """The command line that srun gets, which is not installed here."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    result = run(
        tmp_path,
        'slurm_train.sh',
        'gpu',
        'my job',
        'my config.py',
        'runs/a',
        '--resume',
        GPUS='16',
        SRUN_ARGS='--time=1:00 --exclusive',
        PATH=path,
    )
    assert result.out.splitlines() == [
        '--partition=gpu',
        '--job-name=my job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--time=1:00',
        '--exclusive',
        sys.executable,
        '-u',
        f'{TOOLS}/train.py',
        'my config.py',
        '--work-dir',
        'runs/a',
        '--resume',
        '--launcher',
        'slurm',
    ]
    result = run(
        tmp_path,
        'slurm_test.sh',
        'gpu',
        'job',
        'config.py',
        'runs/a',
        PATH=path,
        GPUS='2',
        CPUS_PER_TASK='3',
    )
    assert result.out.splitlines() == [
        '--partition=gpu',
        '--job-name=job',
        '--gres=gpu:2',
        '--ntasks=2',
        '--ntasks-per-node=2',
        '--cpus-per-task=3',
        '--kill-on-bad-exit=1',
        sys.executable,
        '-u',
        f'{TOOLS}/test.py',
        'config.py',
        'runs/a',
        '--launcher',
        'slurm',
    ]


@pytest.mark.parametrize(
    'launcher, variables, device, message',
    [
        ('pytorch', {}, 'cpu', 'RANK is not set. Start them with torchrun: tools/dist_train.sh'),
        (
            'slurm',
            {},
            'cuda',
            'SLURM_PROCID is not set. Start them with srun: tools/slurm_train.sh',
        ),
        ('slurm', {'SLURM_PROCID': '0'}, 'cpu', 'one process per GPU, and PyTorch sees none here'),
        (
            'pytorch',
            {'RANK': '0', 'LOCAL_WORLD_SIZE': '3'},
            'cuda',
            '3 processes were started here, one per GPU, and PyTorch sees 2 GPUs',
        ),
    ],
)
def test_processes_that_do_not_fit(monkeypatch, launcher, variables, device, message):
    for name in ('RANK', 'SLURM_PROCID', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, 'get_device', lambda: device)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UserError) as raised:
        distributed.join_processes(Config(dict(launcher=launcher)))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    'config, installed, changes, message',
    [
        ('fsdp.py', False, {'launcher': 'none'}, 'ShardedStrategy shards a training over several'),
        ('zero.py', False, {}, 'DeepSpeedStrategy needs DeepSpeed'),
        ('zero.py', True, {'optim_wrapper.clip_grad.max_norm': 1.0}, 'strategy.gradient_clipping'),
        ('zero.py', True, {'auto_scale_lr.enable': True}, 'does not scale the learning rate'),
    ],
)
def test_strategies_that_do_not_fit(folder, monkeypatch, config, installed, changes, message):
    monkeypatch.setattr(distributed, 'find_spec', lambda name: installed or None)
    config = read_config(folder / config, launcher='pytorch')
    config.merge_from_dict(changes)
    with pytest.raises(UserError, match=message):
        distributed.join_processes(config)


def test_the_deepspeed_config_has_what_mmengine_takes():
    from mmengine._strategy import DeepSpeedStrategy
    from mmengine._strategy.deepspeed import DeepSpeedOptimWrapper

    config = read_config(ROOT / 'configs/distributed/retinanet_trtvit_d_deepspeed.py')
    assert config.strategy.pop('type') == DeepSpeedStrategy.__name__
    assert set(config.strategy) <= set(inspect.signature(DeepSpeedStrategy.__init__).parameters)
    assert config.optim_wrapper.pop('type') == DeepSpeedOptimWrapper.__name__
    assert set(config.optim_wrapper) <= {'optimizer', 'paramwise_cfg', 'constructor'}


def test_a_folder_of_a_sharded_training(folder):
    checkpoint = folder / 'some/epoch_1.pth'
    checkpoint.mkdir(parents=True)
    config = read_config(folder / 'detector.py')
    command = f'{folder}/some/zero_to_fp32.py {folder}/some OUT --tag epoch_1.pth'
    for use in (
        lambda: evaluate(config, checkpoint),
        lambda: evaluate(config, folder / 'some'),
        lambda: resume_from(config, checkpoint),
    ):
        with pytest.raises(UserError, match=command):
            use()
    config = read_config(folder / 'zero.py')
    resume_from(config, checkpoint)
    assert config.resume and config.load_from == str(checkpoint)
    backend = _RemoveLater()
    backend.rmtree(checkpoint)
    assert checkpoint.is_dir()
    backend.flush(set())
    assert not checkpoint.exists()


def test_drawing_needs_one_process(folder):
    with pytest.raises(UserError, match='Use tools/test.py without --launcher'):
        draw_to(read_config(folder / 'detector.py', launcher='pytorch'), folder / 'images')


def test_sync_batch_norm_of_a_config_becomes_batch_norm():
    from mmcv.cnn import build_norm_layer

    synced = nn.Sequential(build_norm_layer(dict(type='SyncBN'), 3)[1])
    nn.init.uniform_(synced[0].weight)
    plain = distributed.without_sync_bn(synced)
    assert not isinstance(plain[0], nn.SyncBatchNorm)
    x = torch.randn(2, 3, 4, 4)
    expected = nn.functional.batch_norm(x, None, None, synced[0].weight, training=True)
    torch.testing.assert_close(plain(x), expected)


@pytest.mark.parametrize('rank, waits', [('0', []), ('1', [10])])
def test_other_processes_leave_the_report_to_the_first(monkeypatch, rank, waits):
    def fail(args):
        raise UserError('no')

    slept = []
    monkeypatch.setattr(time, 'sleep', slept.append)
    monkeypatch.setenv('LOCAL_RANK', rank)
    with pytest.raises(SystemExit, match='error: no'):
        run_tool(fail, SimpleNamespace(launcher='pytorch'))
    assert slept == waits


def gloo_threads():
    return [name for name in Path('/proc/self/task').glob('*/comm') if 'gloo' in name.read_text()]


@pytest.mark.skipif(sys.platform != 'linux', reason='names of threads are read from /proc')
def test_no_thread_of_gloo_outlives_a_tool(monkeypatch):
    """One that did now and then aborted the process at its end."""

    def main(args):
        torch.distributed.init_process_group(
            'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
        )
        model = distributed.CPUDistributedDataParallel(nn.Linear(2, 2))
        model.itself = [model]
        assert gloo_threads()

    monkeypatch.setenv('LOCAL_RANK', '0')
    run_tool(main, SimpleNamespace(launcher='pytorch'))
    assert not torch.distributed.is_initialized()
    assert not gloo_threads()
