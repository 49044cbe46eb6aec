"""tools/train.py and tools/test.py: a detector in processes of its own, the rest in this one."""

import itertools
import json
import os
import pickle
import re
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from mmtrtvit.datasets import make_shapes
from mmtrtvit.models.fast.fusion import FusedBackbone
from mmtrtvit.weights.checkpoints import read_weights

ROOT = Path(__file__).parents[2]
CALLS = itertools.count()
SIZES = 'dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))'

DETECTOR = f"""
_base_ = '{ROOT}/configs/demo/retinanet_trtvit_b.py'
model = dict(
    backbone=dict(arch={SIZES}, drop_path_rate=0.2),
    neck=dict(in_channels=[32, 64, 64], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
    test_cfg=dict(score_thr=0.))
train_dataloader = dict(
    batch_size=4, num_workers=2, persistent_workers=False,
    worker_init_fn=dict(type='keep_worker_seed'))
val_dataloader = dict(num_workers=0, batch_size=4)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(
    _delete_=True, type='CheckpointHook', interval=1, backend_args=dict(backend='atomic')))
custom_hooks = [dict(type='EpochSeedHook'), dict(type='CheckWeightsHook')]
randomness = dict(seed=3)
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=4e-4))
auto_scale_lr = dict(base_batch_size=16)
"""

SEGMENTOR = f"""
_base_ = '{ROOT}/configs/_base_/default_runtime.py'
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64), seg_pad_val=255),
    backbone=dict(
        type='TRTViT', arch=dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)),
        out_indices=(0, 1, 2, 3)),
    neck=dict(type='FPN', in_channels=[32, 32, 64, 64], out_channels=16, num_outs=4),
    decode_head=dict(
        type='FPNHead', in_channels=[16] * 4, in_index=[0, 1, 2, 3], channels=16,
        feature_strides=[4, 8, 16, 32], num_classes=4,
        loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='whole'))

def loader(split):
    return dict(
        batch_size=4, num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=split == 'training'),
        dataset=dict(
            type='BaseSegDataset', data_root='data/shapes',
            metainfo=dict(classes=('background', 'disc', 'triangle', 'ring')),
            data_prefix=dict(img_path='images/' + split, seg_map_path='annotations/' + split),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                      dict(type='PackSegInputs')]))

train_dataloader = loader('training')
val_dataloader = test_dataloader = loader('validation')
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(visualization=dict(type='SegVisualizationHook'))
visualizer = dict(type='SegLocalVisualizer')
"""

CLASSIFIER = """
custom_imports = dict(imports=['mmtrtvit', 'blobs'])
model = dict(type='BlobClassifier')
train_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(type='Blobs'),
    sampler=dict(type='DefaultSampler', shuffle=True), collate_fn=dict(type='default_collate'))
val_dataloader = test_dataloader = train_dataloader
val_evaluator = test_evaluator = dict(type='BlobAccuracy')
train_cfg = dict(by_epoch=True, max_epochs=8)
val_cfg = test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.5))
auto_scale_lr = dict(base_batch_size=16)
randomness = dict(seed=0)
"""

BLOBS = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS

@DATASETS.register_module()
class Blobs(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return dict(inputs=torch.full((3,), float(index % 2)), label=index % 2)

@MODELS.register_module()
class BlobClassifier(BaseModel):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(3, 2)
    def forward(self, inputs, label, mode='tensor'):
        scores = self.head(inputs)
        if mode == 'loss':
            return dict(loss=torch.nn.functional.cross_entropy(scores, label))
        return [dict(hit=hit.item()) for hit in scores.argmax(1) == label]

@METRICS.register_module()
class BlobAccuracy(BaseMetric):
    def __init__(self, silent=False):
        super().__init__()
        self.silent = silent
    def process(self, batch, samples):
        self.results += [sample['hit'] for sample in samples]
    def compute_metrics(self, results):
        return {} if self.silent else dict(accuracy=sum(results) / len(results))
"""

KILL = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class KillHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 4:  # the second of three iterations of the second epoch
            os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED = """
_base_ = 'detector.py'
custom_imports = dict(imports=['mmtrtvit', 'kill'])
custom_hooks = [dict(type='EpochSeedHook'), dict(type='KillHook')]
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A user's folder: data, configs, a module."""
    folder = tmp_path_factory.mktemp('user')
    make_shapes(folder / 'data/shapes', 12, val=4, size=64)
    files = {
        'detector.py': DETECTOR,
        'killed.py': KILLED,
        'segmentor.py': SEGMENTOR,
        'classifier.py': CLASSIFIER,
        'blobs.py': BLOBS,
        'kill.py': KILL,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def run(folder, tool, *args):
    """Runs a tool in a process."""
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get('PYTHONPATH', '')])
    quick = ['--no-report'] if tool == 'train.py' else []
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / tool, *args, *quick],
        cwd=folder,
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1'),
    )
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture
def call(folder, monkeypatch, capfd):
    """Runs a tool in this process; the result is like that of ``run``."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def call(tool, *args, report=False):
        # MMEngine shares the loggers of runs that start in the same second, unless named apart.
        name = f'experiment_name=call{next(CALLS)}'
        quick = ['--no-report'] if tool == 'train.py' and not report else []
        words = [tool, *map(str, args), *quick, '--cfg-options', name]
        monkeypatch.setattr(sys, 'argv', words)
        code, message = 0, ''
        try:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
            message = error.code if isinstance(error.code, str) else ''
        captured = capfd.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err + message)

    return call


def assert_refused(result, *parts):
    assert result.code == 1
    assert 'Traceback' not in result.out + result.err
    message = result.err[result.err.index('error: ') :]
    assert message.count('error: ') == 1
    for part in parts:
        assert str(part) in message
    return message


@pytest.fixture(scope='module')
def runs(folder):
    """A detector trained without interruption, and one killed in its second epoch and resumed."""
    whole = run(folder, 'train.py', 'detector.py', '--work-dir', 'whole')
    killed = run(folder, 'train.py', 'killed.py', '--work-dir', 'broken')
    left = sorted(path.name for path in (folder / 'broken').glob('epoch_*'))
    resumed = run(folder, 'train.py', 'detector.py', '--work-dir', 'broken', '--resume')
    return SimpleNamespace(whole=whole, killed=killed, left=left, resumed=resumed)


def test_a_detector_trains(runs, folder):
    assert runs.whole.code == 0, runs.whole.err
    assert 'Batch size 4 (1 x 4), learning rate 0.0004, meant for a batch of 16' in runs.whole.out
    assert f'checkpoint  {folder}/whole/epoch_2.pth' in runs.whole.out
    for name in ('log', 'curves'):
        path = re.search(rf'^{name} +(\S+)$', runs.whole.out, re.M)[1]
        assert Path(path).stat().st_size > 0
    assert 'Could not import OneDL' not in runs.whole.out


def test_a_killed_detector_goes_on_bit_for_bit(runs, folder):
    assert runs.killed.code == -signal.SIGKILL, runs.killed.err
    assert runs.left == ['epoch_1.pth']
    assert runs.resumed.code == 0, runs.resumed.err
    assert re.search(r'starts from +\S*epoch_1\.pth, resumed', runs.resumed.out)
    whole, resumed = (
        read_weights(folder / name / 'epoch_2.pth')['state_dict'] for name in ('whole', 'broken')
    )
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    'option, parts',
    [
        (
            'model.backbone.type=TRTVit',
            ['model.backbone.type: there is no model TRTVit', 'Did you mean TRTViT'],
        ),
        (
            'optim_wrapper.optimizer.type=Adamm',
            ['optim_wrapper.optimizer.type: there is no optimizer'],
        ),
        ('param_scheduler.0.start=1', ['param_scheduler.0.start: LinearLR has no such argument']),
    ],
)
def test_mistyped_types_and_arguments(call, option, parts):
    assert_refused(call('train.py', 'detector.py', '--cfg-options', option), *parts)


@pytest.mark.parametrize(
    'work_dir, text',
    [
        ('whole', 'stopped; --resume goes on from {}/whole/epoch_2.pth\n'),
        ('new', 'stopped; there is no checkpoint yet\n'),
    ],
)
def test_ctrl_c_says_how_to_go_on(runs, folder, call, monkeypatch, work_dir, text):
    def train(config, resume, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmtrtvit.engine.runner.train', train)
    result = call('train.py', 'detector.py', '--work-dir', work_dir)
    assert result.code == 130 and result.err.endswith(text.format(folder))


def test_a_full_disk_costs_no_checkpoint(runs, folder, call, full_disk):
    shutil.copytree(folder / 'whole', folder / 'full')
    longer = '--cfg-options', 'train_cfg.max_epochs=3'
    with full_disk(1_000_000):
        result = call('train.py', 'detector.py', '--work-dir', 'full', '--resume', *longer)
    assert_refused(result, f'{folder}/full/epoch_3.pth: File too large')
    assert sorted(path.name for path in (folder / 'full').glob('epoch_*')) == [
        'epoch_1.pth',
        'epoch_2.pth',
    ]
    resumed = call('train.py', 'detector.py', '--work-dir', 'full', '--resume', *longer)
    assert resumed.code == 0, resumed.err
    assert re.search(r'starts from +\S*epoch_2\.pth, resumed', resumed.out)


def test_a_detector_is_evaluated_with_images_and_predictions(runs, folder):
    result = run(
        folder,
        'test.py',
        'detector.py',
        'whole',
        '--work-dir',
        'tested',
        '--show-dir',
        'images',
        '--out',
        'new/predictions.pkl',
    )
    assert result.code == 0, result.err
    assert re.search(r'^coco/bbox_mAP_50 +\d\.\d{4}$', result.out, re.M)
    validation = {path.name for path in (folder / 'data/shapes/images/validation').iterdir()}
    assert {path.name for path in (folder / 'images').iterdir()} == validation
    predictions = pickle.loads((folder / 'new/predictions.pkl').read_bytes())
    assert len(predictions) == 4 and 'pred_instances' in predictions[0]


def test_a_fused_detector_has_the_same_ap(runs, call):
    used, aps = [], []
    watch = register_module_forward_hook(lambda module, *_: used.append(type(module)))
    for options in ([], ['--fuse']):
        result = call('test.py', 'detector.py', 'whole', '--work-dir', 'fused', *options)
        assert result.code == 0, result.err
        assert (FusedBackbone in used) is bool(options)
        aps.append(dict(re.findall(r'^(coco/\w+) +(-?\d\.\d{4})$', result.out, re.M)))
    watch.remove()
    assert aps[0] == aps[1] and float(aps[0]['coco/bbox_mAP_50']) > 0


def test_a_cut_off_checkpoint_is_refused_and_kept(runs, folder):
    newest = folder / 'broken/epoch_2.pth'
    whole = newest.read_bytes()
    newest.write_bytes(whole[: len(whole) // 2])
    try:
        result = run(folder, 'train.py', 'detector.py', '--work-dir', 'broken', '--resume')
        assert_refused(
            result, f'{newest} is cut off or damaged', f'--resume {folder}/broken/epoch_1.pth'
        )
        assert sorted(path.name for path in newest.parent.glob('*.pth')) == [
            'epoch_1.pth',
            'epoch_2.pth',
        ]
        assert newest.stat().st_size == len(whole) // 2
    finally:
        newest.write_bytes(whole)


def test_a_wrong_config_path(folder):
    result = run(folder, 'train.py', 'detektor.py')
    assert_refused(result, 'no config file detektor.py', 'Did you mean detector.py')
    assert run(folder, 'train.py').code == 2


@pytest.mark.parametrize(
    'options, parts',
    [
        (['model.backbone.arch=e'], ["TRTViT: arch='e' is unknown, expected one of a, b, c, d or"]),
        (
            ['model.backbone.out_indices=[1,2,4]'],
            ['out_indices=[1, 2, 4]: expected increasing stage numbers from 0 to 3'],
        ),
        (['model.backbone.mix_ratio=0.1'], ['mix_ratio=0.1 gives 0 of 64 channels']),
        (
            ['model.neck.in_channels=[32,64,128]'],
            [
                'model.neck.in_channels is [32, 64, 128]',
                'model.neck.in_channels="[32, 64, 64]"',
                'model.backbone (TRTViT, arch=',
                'out_indices=(1, 2, 3)) gives 3 maps of [32, 64, 64]',
            ],
        ),
    ],
)
def test_parts_of_a_model_that_do_not_fit(call, options, parts):
    assert_refused(call('train.py', 'detector.py', '--cfg-options', *options), *parts)


def test_masks_that_are_not_there(call, folder):
    boxes = json.loads((folder / 'data/shapes/annotations/instances_training.json').read_text())
    for annotation in boxes['annotations']:
        del annotation['segmentation']
    (folder / 'data/shapes/boxes.json').write_text(json.dumps(boxes))
    (folder / 'masks.py').write_text(f"_base_ = '{ROOT}/configs/demo/mask_rcnn_efficientvit_m2.py'")
    result = call(
        'train.py', 'masks.py', '--cfg-options', 'train_dataloader.dataset.ann_file=boxes.json'
    )
    assert_refused(
        result,
        'train_dataloader.dataset.ann_file: data/shapes/boxes.json has boxes but no masks',
        'which MaskRCNN needs',
    )


def test_missing_data(call, folder):
    result = call(
        'train.py',
        'detector.py',
        '--cfg-options',
        'train_dataloader.dataset.data_root=data/none/shapes',
    )
    assert_refused(
        result,
        f'train_dataloader.dataset.data_root: no folder {folder}/data/none/shapes',
        'python tools/make_shapes.py data/none/shapes',
    )


def test_a_wrong_number_of_classes(call):
    result = call('train.py', 'detector.py', '--cfg-options', 'model.bbox_head.num_classes=80')
    assert_refused(
        result,
        'model.bbox_head.num_classes is 80',
        'has 3 classes: disc, triangle, ring',
        '--cfg-options model.bbox_head.num_classes=3',
    )


def test_default_classes_of_coco(call, folder):
    (folder / 'coco.py').write_text(
        "_base_ = 'detector.py'\nmodel = dict(bbox_head=dict(num_classes=80))\n"
        'train_dataloader = dict(dataset=dict(metainfo=None))\n'
    )
    result = call('train.py', 'coco.py')
    assert_refused(result, 'metainfo is not set, which means the 80 classes of CocoDataset')


def test_the_checkpoint_of_another_model(runs, call, folder):
    result = call(
        'test.py',
        'detector.py',
        'whole/epoch_1.pth',
        '--cfg-options',
        'model.neck.num_outs=4',
        'model.bbox_head.anchor_generator.strides=[8,16,32,64]',
    )
    assert_refused(
        result,
        'whole/epoch_1.pth looks like the checkpoint of another model',
        'in the model: neck.fpn_convs.4.conv.',
        'the config detector with 3 classes (disc, ',
    )


def test_a_missing_checkpoint(call):
    assert_refused(call('test.py', 'detector.py', 'none.pth'), 'no checkpoint', 'none.pth')


def test_a_segmentor_trains_and_is_evaluated(call, folder):
    trained = call('train.py', 'segmentor.py', '--work-dir', 'segmented', report=True)
    assert trained.code == 0, trained.err
    assert f'\nreport: {folder}/segmented/report.html\n' in trained.out
    page = (folder / 'segmented/report.html').read_text()
    assert 'tools/train.py segmentor.py --work-dir segmented' in page
    assert 'training loss over the iterations' in page
    assert 'Could not import OneDL' not in trained.out
    tested = call('test.py', 'segmentor.py', 'segmented/epoch_1.pth', '--show-dir', 'masks')
    assert tested.code == 0, tested.err
    assert re.search(r'^mIoU +\d+\.\d+$', tested.out, re.M)
    assert len(list((folder / 'masks').iterdir())) == 4
    image = folder / 'taken' / 'test_00000000.jpg_1.png'
    image.mkdir(parents=True)
    taken = call('test.py', 'segmentor.py', 'segmented/epoch_1.pth', '--show-dir', 'taken')
    assert_refused(taken, f'{image}: Is a directory')
    wrong = call('train.py', 'segmentor.py', '--cfg-options', 'model.decode_head.num_classes=150')
    assert_refused(wrong, 'has 4 classes: background, disc')


def test_a_classifier_of_plain_mmengine_trains_and_is_evaluated(call, folder):
    trained = call('train.py', 'classifier.py', '--auto-scale-lr', report=True)
    assert trained.code == 0, trained.err
    assert re.search(
        r'^no report: \S+ has default_scope=None; a report is about', trained.out, re.M
    )
    assert 'learning rate 0.5 for a batch of 16, scaled to 0.125.' in trained.out
    newest = folder / 'work_dirs/classifier/epoch_8.pth'
    tested = call('test.py', 'classifier.py', newest, '--out', 'hits.pkl')
    assert re.search(r'^accuracy +1\.0000$', tested.out, re.M)
    assert len(pickle.loads((folder / 'hits.pkl').read_bytes())) == 8


@pytest.mark.parametrize(
    'tool, args, part',
    [
        ('test.py', ['--out', 'hits.json'], 'ends with .pkl'),
        ('test.py', ['--show-dir', 'x'], 'no default_hooks.visualization'),
        (
            'test.py',
            ['--cfg-options', 'test_evaluator.silent=True'],
            'the evaluator gave no metric',
        ),
        ('train.py', ['--resume', 'plain.pth'], 'lacks the state of a training (message_hub, meta'),
    ],
)
def test_what_cannot_be_done_is_told(call, folder, tool, args, part):
    torch.save({'head.weight': torch.ones(2, 3), 'head.bias': torch.ones(2)}, folder / 'plain.pth')
    checkpoint = ['plain.pth'] if tool == 'test.py' else []
    assert_refused(call(tool, 'classifier.py', *checkpoint, *args), part)


@pytest.mark.parametrize(
    'args, part',
    [(['--launcher', 'mpi'], 'is for processes that it started')],
)
def test_what_needs_a_gpu_is_told(call, args, part):
    assert_refused(call('train.py', 'classifier.py', *args), part)


def test_resuming_in_a_new_folder_starts_anew(call):
    result = call('train.py', 'classifier.py', '--work-dir', 'new_run', '--resume')
    assert result.code == 0 and 'new_run/epoch_8.pth' in result.out
    assert 'new_run has no checkpoint: this training starts anew.' in result.out
