"""Modules in PyTorch as sessions."""

import numpy as np
import pytest

from mmtrtvit.deploy.measure.latency import random_inputs
from mmtrtvit.deploy.verify.open import open_checkpoint
from mmtrtvit.errors import UserError


@pytest.mark.parametrize('name', ['retinanet', 'mask_rcnn', 'upernet', 'fpn'])
def test_a_session_gives_what_it_says(name, small_models):
    session = open_checkpoint(small_models / f'{name}.py', small_models / f'{name}.pth')
    outputs = session.run(random_inputs(session, 2, size=(64, 96)))
    assert list(outputs) == [each.name for each in session.outputs]
    for each in session.outputs:
        found = outputs[each.name]
        assert found.dtype == each.dtype and found.ndim == len(each.shape)
        assert all(side in (None, size) for side, size in zip(each.shape, found.shape))


def test_wrong_inputs(small_models):
    session = open_checkpoint(small_models / 'fpn.py', small_models / 'fpn.pth')
    with pytest.raises(UserError, match='takes input, but got image'):
        session.run(dict(image=np.zeros((1, 3, 32, 32), np.float32)))
    with pytest.raises(UserError, match='input is of float64'):
        session.run(dict(input=np.zeros((1, 3, 32, 32))))
