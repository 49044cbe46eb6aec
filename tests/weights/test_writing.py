"""Weights are written in both formats and read back with what is said of them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import read_weights
from mmtrtvit.weights.writing import write_weights

META = dict(dataset_meta=dict(classes=['a', 'b']), epoch=3)


@pytest.mark.parametrize('name', ['x.pth', 'x.safetensors'])
def test_what_was_written_is_read(tmp_path, name):
    shared = torch.arange(6.0)
    weights = dict(a=shared[:4], b=shared.view(2, 3).t(), c=torch.tensor(1))
    path = tmp_path / 'new' / name
    write_weights(path, weights, META)
    checkpoint = read_weights(path)
    assert checkpoint['meta'] == META
    assert all(torch.equal(checkpoint['state_dict'][key], weights[key]) for key in weights)
    assert [each.name for each in path.parent.iterdir()] == [name]
    with pytest.raises(UserError, match='new is a folder: name the file to write'):
        write_weights(path.parent, weights, META)


def test_other_programs_read_the_tensors(tmp_path):
    write_weights(tmp_path / 'x.safetensors', dict(a=torch.ones(2)), META)
    assert load_file(tmp_path / 'x.safetensors')['a'].tolist() == [1, 1]


@pytest.mark.parametrize('text', ['no JSON', '3', '[' * 100000])
def test_what_is_said_of_the_weights_may_be_damaged(tmp_path, text):
    save_file(dict(a=torch.ones(2)), tmp_path / 'x.safetensors', dict(mmtrtvit=text))
    with pytest.raises(UserError, match='x.safetensors is cut off or damaged'):
        read_weights(tmp_path / 'x.safetensors')


def test_a_similar_name_is_suggested(tmp_path):
    (tmp_path / 'trtvit.safetensors').write_bytes(b'')
    with pytest.raises(UserError, match='Did you mean trtvit.safetensors'):
        read_weights(tmp_path / 'trtvit.safetensor')
