"""The stream of samples: its order, its shares and its random numbers."""

import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmtrtvit.classification import stream
from mmtrtvit.classification.stream import Position, SeededSamples, StreamSampler
from mmtrtvit.errors import UserError


def samplers(monkeypatch, world_size, size=10, **options):
    for rank in range(world_size):
        monkeypatch.setattr(stream, 'get_dist_info', lambda rank=rank: (rank, world_size))
        yield StreamSampler(range(size), seed=3, **options)


def take(sampler, count):
    return list(itertools.islice(sampler, count))


@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_no_sample_is_lost_or_doubled(monkeypatch, world_size):
    whole = [take(sampler, 60 // world_size) for sampler in samplers(monkeypatch, world_size)]
    together = [index for places in zip(*whole) for index in places]
    for epoch in range(6):
        assert sorted(together[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert together[:10] != together[10:20]
    assert [index.place for places in zip(*whole) for index in places] == list(range(60))


@pytest.mark.parametrize('skipped', [0, 1, 9, 10, 27])
def test_a_skip_gives_the_very_next_samples(monkeypatch, skipped):
    for whole, later in zip(samplers(monkeypatch, 2), samplers(monkeypatch, 2), strict=True):
        expected = take(whole, skipped + 8)[skipped:]
        later.skip(skipped)
        given = take(later, 8)
        assert given == expected
        assert [index.place for index in given] == [index.place for index in expected]


def test_repeats_go_to_different_processes(monkeypatch):
    first, second, third = (
        take(sampler, 3) for sampler in samplers(monkeypatch, 3, size=9, repeats=3)
    )
    assert first == second == third and len({*first}) == 3
    with pytest.raises(UserError, match='sampler.repeats is 0'):
        StreamSampler(range(4), seed=0, repeats=0)


def test_an_order_without_shuffling(monkeypatch):
    (sampler,) = samplers(monkeypatch, 1, size=3, shuffle=False)
    assert take(sampler, 7) == [0, 1, 2, 0, 1, 2, 0]


class Numbers(Dataset):
    metainfo = dict(classes=('a',))

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return index, random.random(), np.random.random(), torch.rand(()).item()


@pytest.mark.parametrize('workers', [0, 2])
def test_random_numbers_hang_on_the_place_alone(workers):
    def batches(skip, count):
        sampler = StreamSampler(Numbers(), seed=5)
        sampler.skip(3 * skip)
        loader = DataLoader(
            SeededSamples(Numbers()), 3, sampler=sampler, num_workers=workers, collate_fn=list
        )
        return list(itertools.islice(loader, count))

    whole = batches(0, 4)
    assert batches(2, 2) == whole[2:]
    same = [numbers for numbers in itertools.chain(*whole) if numbers[0] == whole[0][0][0]]
    assert len(same) == 2 and same[0] != same[1]  # the same image in the next epoch
    # not on how many workers there are
    sampler = StreamSampler(Numbers(), seed=5)
    here = [SeededSamples(Numbers())[index] for index in take(sampler, 12)]
    assert here == list(itertools.chain(*whole))


def test_a_position_is_a_number_that_travels():
    position = pickle.loads(pickle.dumps(Position(4, 1, 9)))
    assert position == 4 and (position.seed, position.place) == (1, 9)
    assert [10, 11, 12, 13, 14][position] == 14
    assert SeededSamples(Numbers()).metainfo['classes'] == ('a',)
