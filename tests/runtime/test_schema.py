"""The work dir's files as they may come from elsewhere: a message for whatever is wrong in them."""

import copy
import json
from dataclasses import dataclass

import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector
from mmtrtvit.runtime.schema import parse, read_json

ODD = [None, True, -1, 0, 3, 1e30, 10**400, float('nan'), '', 'x', [], [[]], {}, [None], '../x']


@dataclass(frozen=True)
class Inner:
    size: int | tuple[int, int]
    name: str = 'none'


@dataclass(frozen=True)
class Outer:
    parts: list[Inner]
    share: float | None = None


def test_values_become_dataclasses():
    value = dict(parts=[dict(size=3), dict(size=[4, 5], name='x')], share=1, other='left out')
    assert parse(value, Outer, source='file:', key='') == Outer([Inner(3), Inner((4, 5), 'x')], 1.0)


@pytest.mark.parametrize(
    'value, text',
    [
        (3, 'file: all of it is 3, expected an object'),
        ({}, 'file: there is no parts'),
        (dict(parts=[{}]), r'file: there is no parts\.0\.size'),
        (dict(parts=[dict(size='x')]), r"parts\.0\.size is 'x', expected a whole number or a list"),
        (dict(parts=[dict(size=[1, 2, 3])]), r'parts\.0\.size is \[1, 2, 3\]'),
        (dict(parts=[dict(size=True)]), r'parts\.0\.size is True'),
        (dict(parts=[], share=float('nan')), 'share is nan, expected a number or null'),
        (dict(parts=[], share='y' * 99), r"share is 'y+\.\.\., expected"),
    ],
)
def test_what_is_wrong_is_named(value, text):
    with pytest.raises(UserError, match=text):
        parse(value, Outer, source='file:', key='')


@pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'{"a": ', b'[' * 100_000])
def test_what_is_not_json_is_refused(tmp_path, content):
    file = tmp_path / 'x.json'
    file.write_bytes(content)
    with pytest.raises(UserError, match=r'cannot read .*x\.json as JSON'):
        read_json(file, Outer)


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items if isinstance(value, dict | list) else ():
        yield from paths(part, (*path, key)) if isinstance(part, dict | list) else [(*path, key)]


def changed(content, path, value):
    if not path:
        return value
    content = copy.deepcopy(content)
    part = content
    for key in path[:-1]:
        part = part[key]
    if value is KeyError:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return content


TRANSFORMS = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', size=[64, 48], keep_ratio=True, interpolation='bilinear'),
    dict(type='Normalize', mean=[1, 2, 3], std=[1, 1, 1], to_rgb=False),
    dict(type='Pad', size_divisor=32, pad_val=dict(img=0)),
]


@pytest.mark.parametrize('name', ['deploy.json', 'pipeline.json'])
def test_every_change_of_a_file_works_or_is_refused(bright, name):
    params = dict(mask_thr_binary=0.5, nms=dict(iou_threshold=0.5))
    folder = bright(
        transforms=TRANSFORMS, params=params, classes=['a', 'b'], palette=[[1, 2, 3], [4, 5, 6]]
    )
    content = json.loads((folder / name).read_text())
    image = np.full((60, 80, 3), 200, np.uint8)
    assert len(Detector(folder)(image)) == 1
    refused = 0
    for path in paths(content):
        for value in [*ODD, KeyError] if path else ODD:
            (folder / name).write_text(json.dumps(changed(content, path, value)))
            try:
                Detector(folder)(image)
            except UserError as error:
                refused += 1
                assert str(folder) in str(error) or 'pixels' in str(error), (path, value, error)
    assert refused > 50


def test_a_file_outside_of_the_folder_is_refused(bright, tmp_path):
    folder = bright()
    for net in ('../secret.onnx', '/etc/passwd', 'a/b.onnx', '..', ''):
        content = json.loads((folder / 'deploy.json').read_text())
        content['models'][0]['net'] = net
        (folder / 'deploy.json').write_text(json.dumps(content))
        with pytest.raises(UserError, match=r'models\.0\.net is .* a file in this folder'):
            Detector(folder)
