"""Trainings that diverge stop before their weights and checkpoints are lost."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS
from mmengine.runner.checkpoint import CheckpointLoader

from mmtrtvit.engine.finite import FiniteHook
from mmtrtvit.engine.runner import build_runner, evaluate, train
from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import read_weights
from mmtrtvit.weights.finite import non_finite


@DATASETS.register_module(force=True)
class ToyOddPatches(DATASETS.get('ToyPatches')):
    """Patches of which some hold a value that is not finite."""

    def __init__(self, bad, value, **kwargs):
        super().__init__(**kwargs)
        self.images[bad] = value


def with_bad_images(config, bad=(9,), value=float('nan')):
    config.train_dataloader.dataset.update(type='ToyOddPatches', bad=list(bad), value=value)
    config.train_dataloader.sampler.shuffle = False
    return config


def weights(path):
    return read_weights(path)['state_dict']


def test_a_training_that_diverges_stops_with_its_last_good_checkpoint(toy):
    config = toy(loop=dict(by_epoch=True, max_epochs=5), param_scheduler=[])
    config.optim_wrapper.optimizer = dict(type='SGD', lr=1e30)
    with pytest.raises(UserError, match=r'(?s)iteration \d+: .*not finite.*Lower the'):
        train(config)
    for file in Path('run').glob('*.pth'):
        assert not non_finite(weights(file))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_images_that_are_not_finite_are_named(toy, value):
    config = with_bad_images(toy(), value=value)
    with pytest.raises(UserError, match=r'iteration 3: .* that of data_preprocessor \(Base'):
        train(config)


def test_the_message_names_the_first_module(toy):
    runner = build_runner(toy())
    with torch.no_grad():
        runner.model.conv.weight.fill_(1e38)
    with pytest.raises(UserError, match=r'iteration 1: .* that of conv \(Conv2d\)'):
        runner.train()


def test_the_step_is_not_taken(toy):
    config = with_bad_images(toy())
    runner = build_runner(config)
    with pytest.raises(UserError):
        runner.train()
    parameters = dict(runner.model.named_parameters())
    assert runner.iter == 2 and not non_finite({k: v.detach() for k, v in parameters.items()})


def test_steps_are_left_out_up_to_a_number(toy):
    config = with_bad_images(toy(loop=dict(by_epoch=True, max_epochs=2)))
    config.custom_hooks.append(dict(type='FiniteHook', max_skipped=1))
    with pytest.raises(UserError, match='iteration 7'):
        train(config)
    log = next(Path('run').rglob('*.log')).read_text()
    assert 'iteration 3: the gradient is not finite; the step is left out (1 of at most 1)' in log


def test_a_gradient_that_is_not_finite_is_traced_to_the_module_that_gets_it(toy):
    runner = build_runner(toy())

    def spoil(module, args, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * float('inf'))

    runner.model.head.register_forward_hook(spoil)
    with pytest.raises(UserError, match=r'All outputs are finite; .* at the output of \w+'):
        runner.train()


def test_no_checkpoint_that_is_not_finite_replaces_a_finite_one(toy):
    runner = build_runner(toy(loop=dict(by_epoch=True, max_epochs=1)))
    runner.train()
    before = Path('run/epoch_1.pth').read_bytes()
    runner.model.norm.running_var[0] = float('inf')
    with pytest.raises(UserError, match=r'no checkpoint is written: 1 of 9 .*norm\.running_var'):
        runner.save_checkpoint('run', 'epoch_1.pth')
    assert Path('run/epoch_1.pth').read_bytes() == before


def test_weights_that_are_not_finite_are_refused_by_name(toy):
    train(toy(loop=dict(by_epoch=True, max_epochs=1)))
    checkpoint = read_weights('run/epoch_1.pth')
    checkpoint['state_dict']['head.bias'][1] = float('nan')
    torch.save(checkpoint, 'run/epoch_2.pth')
    with pytest.raises(UserError, match=r'epoch_2\.pth: 1 of 9 tensors .*head\.bias'):
        evaluate(toy('test'), 'run/epoch_2.pth')
    with pytest.raises(UserError, match=r'head\.bias'):
        train(toy(), resume='auto')
    with pytest.raises(UserError, match=r'epoch_2\.pth: 1 of 9 tensors .*head\.bias'):
        CheckpointLoader.load_checkpoint('run/epoch_2.pth')  # as init_cfg does


def test_the_hook_is_there_by_default_and_once(toy):
    hooks = [hook for hook in build_runner(toy()).hooks if isinstance(hook, FiniteHook)]
    assert len(hooks) == 1 and hooks[0].max_skipped == 0
    with pytest.raises(UserError, match=r'max_skipped is -1'):
        FiniteHook(max_skipped=-1)


def test_the_best_checkpoint_is_kept_and_a_missing_metric_is_told(toy):
    hook = dict(type='SafeCheckpointHook', interval=1, save_best='auto')
    train(toy(default_hooks=dict(checkpoint=hook)))
    assert list(Path('run').glob('best_accuracy_epoch_*.pth'))
    hook['save_best'], hook['rule'] = 'mIoU', 'greater'
    log = train(toy('other', default_hooks=dict(checkpoint=hook))).log.read_text()
    assert 'The evaluation has no mIoU' in log and 'but accuracy' in log
