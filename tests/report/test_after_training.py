"""The report after a training: one line, whatever happens."""

import pytest
from mmengine.config import Config

from mmtrtvit.engine.runner import TrainResult
from mmtrtvit.errors import UserError
from mmtrtvit.report import page
from mmtrtvit.report.after_training import report_after

CONFIG = dict(val_dataloader=dict(), test_dataloader=dict(batch_size=1))


def line(tmp_path, checkpoint='epoch_1.pth', **changes):
    result = TrainResult(tmp_path, checkpoint and tmp_path / checkpoint, None, None, None)
    config = Config(dict(CONFIG, **changes))
    object.__setattr__(config, '_filename', 'configs/mine.py')
    return report_after(result, config)


def test_it_is_about_what_was_trained(tmp_path, monkeypatch):
    def write(work_dir, **options):
        assert (work_dir, options) == (
            tmp_path,
            dict(config=tmp_path / 'mine.py', checkpoint=tmp_path / 'epoch_1.pth'),
        )
        return 'there.html', None

    monkeypatch.setattr(page, 'report', write)
    assert line(tmp_path) == 'report: there.html'


@pytest.mark.parametrize(
    'error, text',
    [
        (UserError('the data\nmoved'), 'no report: the data moved'),
        (RuntimeError('out of\nmemory'), 'no report: RuntimeError: out of memory'),
        (KeyboardInterrupt(), 'no report: it was stopped; mmtrtvit report '),
    ],
)
def test_a_report_that_fails_is_one_line(tmp_path, monkeypatch, error, text):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(page, 'report', fail)
    assert line(tmp_path).startswith(text) and '\n' not in line(tmp_path)


@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(checkpoint=None), 'no report: the training wrote no checkpoint'),
        (dict(test_dataloader=None), 'no report: the config has no data to evaluate on'),
        (dict(launcher='pytorch'), 'no report after a training of several processes; mmtrtvit'),
    ],
)
def test_where_there_is_nothing_to_report(tmp_path, monkeypatch, changes, text):
    monkeypatch.setattr(page, 'report', None)
    assert line(tmp_path, **changes).startswith(text)
