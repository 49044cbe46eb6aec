"""Averaged weights, an early end, and the best checkpoint, for each kind of model."""

import re

import pytest
import torch

from mmtrtvit.engine.command_line import tell_checkpoint
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.runner import train
from mmtrtvit.weights.checkpoints import checkpoint_file, read_weights

METRICS = dict(retinanet='coco/bbox_mAP', upernet='mIoU', classifier='accuracy/top1')


@pytest.mark.parametrize('name', METRICS)
def test_switches_of_every_config(trainable_models, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(trainable_models)
    options = {
        'default_hooks.ema.type': 'EMAHook',
        'default_hooks.stop.type': 'EarlyStoppingHook',
        'default_hooks.stop.monitor': METRICS[name],
        'default_hooks.stop.rule': 'greater',
        'default_hooks.stop.patience': 1,
        'default_hooks.stop.min_delta': 1000,  # nothing is better than the first evaluation
        'train_cfg.max_epochs': 9,
        'train_cfg.val_interval': 1,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.batch_size': 2 if name == 'classifier' else 8,
        'val_dataloader.num_workers': 0,
    }
    if name == 'retinanet':  # finds something at once, or there would be no metric
        options['load_from'] = 'start.pth'
    config = read_config(f'{name}.py', options, work_dir=tmp_path)
    if name == 'retinanet':
        write_start(config)
    result = train(config)
    assert result.best.file.parent == tmp_path and checkpoint_file(tmp_path) == result.best.file
    state = read_weights(result.best.file)
    assert {'ema_state_dict', 'state_dict'} <= {*state}  # averages, and what they are of
    log = result.log.read_text()
    assert log.count('(val)') and 'the monitored metric did not improve in the last 1' in log
    assert result.best.metric == METRICS[name].replace('/', '_')
    capsys.readouterr()
    assert tell_checkpoint(str(tmp_path)) == str(result.best.file)
    line = rf'checkpoint: {result.best.file}, the best of its run by {result.best.metric}, \d+\.\d+'
    assert re.fullmatch(line, capsys.readouterr().out.strip())
    assert tell_checkpoint(str(result.checkpoint)) == str(result.checkpoint)
    assert not capsys.readouterr().out


def write_start(config):
    from mmengine.registry import MODELS, DefaultScope

    from mmtrtvit.engine.hosts import import_host

    import_host(config.default_scope)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    torch.nn.init.zeros_(model.bbox_head.retina_cls.bias)
    torch.save(model.state_dict(), 'start.pth')  # bare, which EMAHook alone would not take
