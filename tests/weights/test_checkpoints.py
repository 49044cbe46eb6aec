import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from torch import nn

from mmtrtvit.errors import UserError
from mmtrtvit.weights import safe
from mmtrtvit.weights.checkpoints import (
    best_checkpoint,
    checkpoint_file,
    found_checkpoint,
    newest_checkpoint,
    read_weights,
)
from mmtrtvit.weights.matching import class_layers, compare_weights, require_match


@pytest.fixture
def good(tmp_path):
    """A file with all kinds of things that MMEngine saves."""
    path = tmp_path / 'epoch_1.pth'
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save(
        dict(
            meta=dict(epoch=1, seed=np.int64(3), dataset_meta=dict(classes=('a', 'b'))),
            message_hub=dict(
                log_scalars={'train/loss': history}, runtime_info=dict(lr=np.float64(1))
            ),
            state_dict={'module.conv.weight': torch.ones(2)},
        ),
        path,
    )
    return path


def error_of(path):
    with pytest.raises(UserError) as caught:
        read_weights(path)
    return str(caught.value)


def test_reads_what_mmengine_saves(good):
    checkpoint = read_weights(good)
    assert checkpoint['message_hub']['log_scalars']['train/loss'].mean() == 1.5
    assert checkpoint['meta']['seed'] == 3


def test_the_older_format_is_refused_with_the_way_to_trust_it(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save({'w': torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    message = error_of(path)
    assert message.startswith(f'{path} has the format of PyTorch before 1.6, which is not safe')
    assert message.endswith(f'python tools/convert_weights.py --trust {path} OUT')


def test_what_is_allowed_has_the_names_of_the_files():
    """PyTorch 2.4 compares these alone; it takes no pairs of a function and a name."""
    names = {f'{each.__module__}.{each.__name__}' for each in safe._saved_beside_weights()}
    assert names >= {
        'builtins.getattr',
        '_codecs.encode',
        'argparse.Namespace',
        'numpy.ndarray',
        *(
            f'{package}.multiarray.{name}'
            for package in ('numpy.core', 'numpy._core')
            for name in ('_reconstruct', 'scalar')
        ),
    }


def test_reads_arrays_that_the_other_numpy_wrote(good):
    ours, theirs = (f'numpy.{package}.multiarray'.encode() for package in ('_core', 'core'))
    if not hasattr(np, '_core'):
        ours, theirs = theirs, ours
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(good.with_name('x.pth'), 'w') as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith('data.pkl'):
                assert ours in data
                data = data.replace(ours, theirs)
            target.writestr(entry, data)
    history = read_weights(good.with_name('x.pth'))['message_hub']['log_scalars']['train/loss']
    assert history.mean() == 1.5


def test_missing_file(good):
    message = error_of(good.with_name('epoch_2.pth'))
    assert f'no checkpoint {good.parent}/epoch_2.pth. Did you mean epoch_1.pth?' in message


@pytest.mark.parametrize('part', [0.2, 0.9, 0.999])
def test_a_cut_off_file_is_named_with_the_readable_ones(good, part):
    cut = good.with_name('epoch_2.pth')
    data = good.read_bytes()
    cut.write_bytes(data[: int(part * len(data))])
    good.with_name('epoch_3.pth').write_bytes(data[:100])
    message = error_of(cut)
    assert message.startswith(f'{cut} is cut off or damaged')
    assert message.endswith(f'These can be read: {good}.')


@pytest.mark.parametrize(
    'content, defect',
    [
        (b'', 'is empty'),
        (b'# not a checkpoint\n', 'is not a PyTorch checkpoint'),
    ],
)
def test_other_files(tmp_path, content, defect):
    (tmp_path / 'x.pth').write_bytes(content)
    assert error_of(tmp_path / 'x.pth') == f'{tmp_path}/x.pth {defect}.'


@pytest.mark.parametrize('content', [dict(state_dict={}), dict(a=1), [1, 2]])
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    assert 'holds no weights of a model' in error_of(tmp_path / 'x.pth')


class Bomb:
    def __reduce__(self):
        return os.mkdir, ('exploded',)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict={'w': torch.ones(1)}, meta=Bomb()), 'x.pth')
    assert 'holds more than weights (posix.mkdir)' in error_of('x.pth')
    assert not os.path.exists('exploded')


@pytest.mark.parametrize(
    'times, pointer, expected',
    [
        ({'epoch_1': 1, 'epoch_2': 2, 'epoch_10': 3}, 'epoch_10', 'epoch_10'),
        ({'epoch_1': 1, 'epoch_2': 2, 'epoch_10': 3}, None, 'epoch_10'),
        (
            {'epoch_1': 1, 'epoch_2': 2},
            'epoch_1',
            'epoch_2',
        ),  # killed before the pointer was written
        ({'epoch_12': 1, 'epoch_3': 2}, 'epoch_3', 'epoch_3'),  # a former run left epoch_12
        ({'epoch_1': 1, 'epoch_2': 1}, '', 'epoch_2'),  # killed while the pointer was written
        ({'epoch_1': 1, 'best_coco_epoch_9': 2}, 'epoch_1', 'epoch_1'),
        (
            {'iter_400': 1, 'iter_1600': 2},
            'elsewhere/iter_1600',
            'iter_1600',
        ),  # the folder was moved
        ({}, None, None),
    ],
)
def test_newest_checkpoint(tmp_path, times, pointer, expected):
    for name, time in times.items():
        (tmp_path / f'{name}.pth').write_bytes(b'')
        os.utime(tmp_path / f'{name}.pth', (time, time))
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer and f'/runs/{pointer}.pth')
    newest = newest_checkpoint(tmp_path)
    assert (newest and newest.name) == (expected and f'{expected}.pth')


def written(folder, name, run, iteration, time):
    """A checkpoint of a run with the name ``run``, whose file has a time of its own."""
    meta = dict(experiment_name=run, iter=iteration, epoch=iteration // 10)
    torch.save(dict(meta=meta, state_dict=dict(w=torch.ones(1))), folder / name)
    os.utime(folder / name, (time, time))
    return folder / name


def test_the_newest_run_counts_and_not_the_clock_or_the_epoch(tmp_path):
    first, second = 'demo_20260101_120000', 'other_name_20260102_080000'
    written(tmp_path, 'epoch_12.pth', first, 120, time=900)  # of an older run, touched later
    written(tmp_path, 'epoch_1.pth', second, 10, time=300)
    newest = written(tmp_path, 'iter_25.pth', second, 25, time=100)  # ended inside of epoch 3
    written(tmp_path, 'epoch_2.pth', second, 20, time=800)
    for pointer in ('epoch_2', 'epoch_12', 'gone'):
        (tmp_path / 'last_checkpoint').write_text(f'/elsewhere/{pointer}.pth')
        assert newest_checkpoint(tmp_path) == newest
    third = written(tmp_path, 'epoch_3.pth', second, 30, time=50)
    assert newest_checkpoint(tmp_path) == third
    assert newest_checkpoint(tmp_path, before=third) == tmp_path / 'epoch_2.pth'


def test_a_checkpoint_that_does_not_tell_its_run_goes_by_its_time(tmp_path):
    told = written(tmp_path, 'epoch_5.pth', 'demo_20260101_120000', 50, time=500)
    written(tmp_path, 'epoch_9.pth', 'demo_20251231_120000', 90, time=400)
    for index, name in enumerate(['demo', None, 7]):
        written(tmp_path, f'epoch_{6 + index}.pth', name, 60, time=100 + index)
    assert newest_checkpoint(tmp_path) == told
    damaged = tmp_path / 'epoch_6.pth'  # the disk was full
    damaged.write_bytes(b'half')
    os.utime(damaged, (600, 600))
    assert newest_checkpoint(tmp_path) == damaged
    assert newest_checkpoint(tmp_path, before=damaged) == told
    os.utime(damaged, (100, 100))
    assert newest_checkpoint(tmp_path) == told


def test_the_readable_one_before_a_damaged_one(good):
    for name in ('epoch_2.pth', 'epoch_4.pth'):
        good.with_name(name).write_bytes(b'half')
    good.with_name('epoch_3.pth').write_bytes(good.read_bytes())
    third, fourth = (good.with_name(f'epoch_{step}.pth') for step in (3, 4))
    assert newest_checkpoint(good.parent, before=fourth) == third
    assert newest_checkpoint(good.parent, before=third) == good


def with_best(folder, run, named, metric=''):
    """A newest checkpoint that names the best one of its run, as MMEngine's hook has it."""
    info = {f'best_ckpt{metric}': f'/elsewhere/{named}', f'best_score{metric}': np.float64(0.5)}
    meta = dict(experiment_name=run, iter=30, epoch=3)
    hub = dict(log_scalars={}, runtime_info=info)
    state = dict(meta=meta, message_hub=hub, state_dict=dict(w=torch.ones(1)))
    torch.save(state, folder / 'epoch_3.pth')


def test_a_work_dir_stands_for_the_best_checkpoint_of_its_newest_run(tmp_path):
    first, second = 'demo_20260101_120000', 'demo_20260102_080000'
    written(tmp_path, 'best_mIoU_epoch_9.pth', first, 90, time=900)  # of an older run
    newest = written(tmp_path, 'epoch_3.pth', second, 30, time=100)
    assert found_checkpoint(tmp_path) == (newest, 'the newest of its run, which has no best one')
    best = written(tmp_path, 'best_coco_bbox_mAP_epoch_2.pth', second, 20, time=50)
    with_best(tmp_path, second, best.name)
    assert best_checkpoint(tmp_path) == (best, 'coco_bbox_mAP', 0.5)
    assert str(best_checkpoint(tmp_path)) == f'{best} (coco_bbox_mAP 0.5000)'
    file, reason = found_checkpoint(tmp_path)
    assert file == best and reason == 'the best of its run by coco_bbox_mAP, 0.5000'
    with_best(tmp_path, second, best.name, metric='_coco/bbox_mAP')  # one of several
    assert checkpoint_file(tmp_path) == best
    assert checkpoint_file(newest) == newest and newest_checkpoint(tmp_path) == newest
    best.unlink()
    assert checkpoint_file(tmp_path) == newest
    newest.rename(best)  # the run ended early and has no other
    assert checkpoint_file(tmp_path) == best


def test_no_best_checkpoint_where_the_newest_is_damaged(tmp_path):
    written(tmp_path, 'best_mIoU_epoch_1.pth', 'demo', 10, time=1)
    (tmp_path / 'epoch_2.pth').write_bytes(b'half')
    assert best_checkpoint(tmp_path) is None
    assert checkpoint_file(tmp_path) == tmp_path / 'epoch_2.pth'


class Model(nn.Module):
    def __init__(self, classes, width=6):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Module()
        self.head.num_classes = classes
        self.head.cls = nn.Linear(6, 3 * classes)
        self.head.softmax = nn.Linear(6, classes + 1)


def test_the_same_model_fits():
    state = Model(4).state_dict()
    old = {key: value for key, value in state.items() if 'num_batches' not in key}
    report = compare_weights(state, old)
    assert (report.missing, report.unexpected, report.reshaped, report.share) == ([], [], {}, 1.0)
    require_match(report, 'x.pth')


def test_another_model_is_refused_with_what_is_known_of_it():
    state = Model(4).state_dict()
    other = {f'backbone.{key}': value for key, value in state.items()}
    other['norm.weight'] = torch.ones(9)
    other['conv.bias'] = state['conv.bias']
    report = compare_weights(state, other)
    assert report.share == pytest.approx(6 / sum(v.numel() for v in state.values() if v.ndim))
    meta = dict(experiment_name='upernet_a_20260102_030405', dataset_meta=dict(classes=list('xyz')))
    with pytest.raises(UserError) as caught:
        require_match(report, '/runs/x.pth', meta=meta)
    message = str(caught.value)
    assert '/runs/x.pth looks like the checkpoint of another model or config' in message
    assert '8 not in the file: conv.weight, norm.bias, norm.running_mean' in message
    assert '10 not in the model: backbone.conv.weight' in message
    assert '1 of another shape: norm.weight (6,), not (9,)' in message
    assert 'written by the config upernet_a with 3 classes (x, y, z)' in message


def test_only_the_number_of_classes_differs():
    model = Model(4)
    report = compare_weights(model.state_dict(), Model(80).state_dict())
    layers = class_layers(report, model)
    assert layers == {
        f'head.{layer}.{kind}' for layer in ('cls', 'softmax') for kind in ('weight', 'bias')
    }
    require_match(report, 'x.pth', allowed=layers)
    with pytest.raises(UserError, match='4 of another shape'):
        require_match(report, 'x.pth')


def test_more_than_the_number_of_classes_differs():
    model = Model(4)
    wider = compare_weights(model.state_dict(), Model(80, width=8).state_dict())
    with pytest.raises(UserError, match=r'conv\.weight \(6, 3, 3, 3\), not \(8, 3, 3, 3\)'):
        require_match(wider, 'x.pth', allowed=class_layers(wider, model))
    state = Model(80).state_dict()
    state['head.softmax.bias'] = torch.ones(7)  # of 6 classes
    assert class_layers(compare_weights(model.state_dict(), state), model) == set()


def test_a_safetensors_file_that_begins_like_a_pickle(tmp_path):
    path = tmp_path / 'x.safetensors'
    for length in range(2000):
        save_file({'w': torch.ones(2)}, path, dict(note='x' * length))
        head = path.read_bytes()[:2]
        if head[:1] == pickle.PROTO and head[1] == 4:
            break
    assert head == b'\x80\x04'
    assert read_weights(path)['w'].tolist() == [1, 1]
    path.rename(tmp_path / 'x.pth')
    assert read_weights(tmp_path / 'x.pth')['w'].tolist() == [1, 1]
