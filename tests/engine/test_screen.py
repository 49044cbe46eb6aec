"""What a run shows on the terminal, and what it leaves to the log file."""

import io
import sys

import pytest
from mmengine.registry import MODELS

from mmtrtvit.engine.runner import evaluate, train
from mmtrtvit.engine.screen import IDLE_WARNINGS, shortened


class Terminal(io.StringIO):
    def isatty(self):
        return True


def short(toy, **changes):
    config = toy(loop=dict(by_epoch=True, max_epochs=1, val_interval=1), **changes)
    config.default_hooks.logger = dict(type='LoggerHook', interval=2)
    return config


def test_a_training_begins_with_a_short_summary_and_goes_on_with_short_lines(toy, capsys):
    result = train(short(toy))
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert len(lines) < 25 and max(map(len, lines)) < 200
    for row in (
        'model        ToyClassifier, 0.0 M parameters',
        'training     16 images, 2 classes (ToyPatches)',
        'schedule     1 epochs of 4 iterations, batch 4 x 1, AdamW at 0.01',
        'starts from  scratch',
        'device       CPU',
    ):
        assert row in lines
    assert sum('Epoch(train) [1]' in line and 'eta' in line for line in lines) == 2
    assert any(line.startswith('Epoch(val) [1][4/4]  accuracy ') for line in lines)
    log = result.log.read_text()
    for text in ('System environment', 'Config:', 'Hooks will be executed', 'data_time'):
        assert text in log and text not in shown
    assert str(result.log) in shown
    assert not any(text in shown for text in IDLE_WARNINGS)


@pytest.mark.parametrize('level, there', [('DEBUG', True), ('WARNING', False)])
def test_levels(toy, capsys, level, there):
    result = train(short(toy, log_level=level))
    shown = capsys.readouterr().out
    assert ('System environment' in shown) == there
    assert ('starts from' in shown) == there
    assert 'Epoch(train)' in result.log.read_text()


def test_warnings_of_ours_are_shown(toy, capsys):
    config = short(toy)
    config.train_dataloader.update(num_workers=1, persistent_workers=True)
    train(config)
    assert 'warning: train_dataloader.persistent_workers=True' in capsys.readouterr().out


def test_an_evaluation_says_what_it_evaluates(toy, capsys):
    checkpoint = train(short(toy)).checkpoint
    capsys.readouterr()
    evaluate(short(toy), checkpoint)
    lines = capsys.readouterr().out.splitlines()
    assert (
        f'weights   {checkpoint}' in lines
        and 'data      16 images, 2 classes (ToyPatches)' in lines
    )
    assert len(lines) < 15


def test_a_terminal_gets_a_bar(toy, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', terminal := Terminal())
    train(short(toy))
    shown = terminal.getvalue()
    assert 'epoch 1' in shown and '\r' in shown
    assert 'Epoch(train)' not in shown and 'Epoch(val) [1][4/4]  accuracy' in shown


def test_an_evaluation_on_a_terminal_has_a_bar(toy, monkeypatch):
    checkpoint = train(short(toy)).checkpoint
    monkeypatch.setattr(sys, 'stdout', terminal := Terminal())
    evaluate(short(toy), checkpoint)
    shown = terminal.getvalue()
    assert '4/4' in shown and 'batch/s' in shown and 'Epoch(test) [4/4]  accuracy' in shown


def test_what_a_model_of_a_user_prints_is_shown(toy, capsys):
    class ToyTalker(MODELS.get('ToyClassifier')):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.said = False

        def forward(self, *args, **kwargs):
            if not self.said:
                print('a word of the user')
                print('creating index...')
            self.said = True
            return super().forward(*args, **kwargs)

    MODELS.register_module(module=ToyTalker, force=True)
    config = short(toy)
    config.model.type = 'ToyTalker'
    train(config)
    shown = capsys.readouterr().out
    assert 'a word of the user' in shown and 'creating index' not in shown


def test_lines_get_shorter():
    line = (
        'Epoch(train) [3][ 60/160]  base_lr: 9.1435e-05 lr: 9.1435e-05  eta: 1 day, 0:07:50  '
        'time: 7.1175  data_time: 0.0525  memory: 99  grad_norm: 1.6408  loss: 0.6528  '
        'loss_cls: 0.2969'
    )
    assert shortened(line) == (
        'Epoch(train) [3][ 60/160]  lr 9.1435e-05  eta 1 day, 0:07:50  '
        'grad_norm 1.6408  loss 0.6528'
    )
    line = 'Iter(val) [5/5]    aAcc: 80.1  mIoU: 40.2  data_time: 0.1  time: 0.2'
    assert shortened(line) == 'Iter(val) [5/5]  aAcc 80.1  mIoU 40.2'
    line = 'Iter(train) [  10/1480]  lr: 1.0e-03  eta: 0:00:08  time: 0.1  loss: 2.5'
    assert shortened(line) == 'Iter(train) [ 10/1480]  lr 1.0e-03  eta 0:00:08  loss 2.5'
