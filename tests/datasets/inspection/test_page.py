"""The page of an inspection: one file, with everything that was found, and nothing that runs."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmtrtvit.analysis.pages.rendering import inline_image, render
from mmtrtvit.datasets import make_shapes
from mmtrtvit.datasets.inspection import inspect_data, page
from mmtrtvit.datasets.inspection.page import write_page

CLASSES = ('disc', 'triangle', 'ring')
SPLITS = dict(train='training', val='validation')
EVIL = '<script>alert(1)</script>.jpg'


class Reader(HTMLParser):
    """Collects texts, the addresses of images and all tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.captions, self.text = [], [], [], ''
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == 'img':
            self.images.append(dict(attributes)['src'])
            self.captions.append(dict(attributes)['alt'])

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope='module')
def inspection(tmp_path_factory):
    """Shapes of which one was copied to val, one saved anew there, and one is damaged."""
    root = tmp_path_factory.mktemp('paged') / 'shapes'
    make_shapes(root, 8, val=3, size=64, seed=2)
    images = root / 'images'
    shutil.copy(images / 'training/00000002.jpg', images / 'validation/00000001.jpg')
    Image.open(images / 'training/00000003.jpg').save(
        images / 'validation/00000002.jpg', quality=60
    )
    (images / 'training/00000004.jpg').write_bytes(b'x')
    file = root / 'annotations/instances_training.json'
    content = json.loads(file.read_text())
    (images / 'training/00000000.jpg').rename(images / 'training' / EVIL.replace('/', '_'))
    content['images'][0]['file_name'] = EVIL.replace('/', '_')
    first = [item for item in content['annotations'] if item['image_id'] == 0]
    first[0]['bbox'] = [-9, 10, 40, 20]
    file.write_text(json.dumps(content))
    loaders = {
        f'{split}_dataloader': dict(
            dataset=dict(
                type='CocoDataset',
                metainfo=dict(classes=CLASSES),
                ann_file=f'{root}/annotations/instances_{name}.json',
                data_prefix=dict(img=f'{root}/images/{name}'),
                pipeline=[dict(type='Resize', scale=(32, 32))],
            )
        )
        for split, name in SPLITS.items()
    }
    return inspect_data(Config(dict(default_scope='mmdet', **loaders)), 2)


@pytest.fixture(scope='module')
def shown(inspection, tmp_path_factory):
    out = tmp_path_factory.mktemp('page') / 'new/index.html'
    assert write_page(inspection, out, name='a & b.py', count=2) == out
    return Reader(out.read_text(encoding='utf-8'))


def test_it_tells_what_the_inspection_found(inspection, shown):
    assert inspection.verdict in shown.text and 'Data of a & b.py' in shown.text
    for finding in [*inspection.findings, *inspection.hints]:
        title = f'{finding.problem.severity}: {finding.split}: {finding.problem.text}'
        assert f'{title} ({len(finding.places)})' in shown.text
        assert all(place in shown.text for place in finding.places)
    total = sum(inspection.splits[0].counts.values())
    assert re.search(rf'all classes\s*{total}', shown.text)
    assert 'to 32 x 32' in shown.text and 'median' in shown.text


def test_it_needs_nothing_else_and_runs_nothing(shown):
    assert not {'script', 'link', 'iframe', 'object'} & {*shown.tags}
    assert shown.tags.count('svg') == 1
    assert all(image.startswith('data:image/jpeg;base64,') for image in shown.images)
    assert EVIL.replace('/', '_') in shown.text


def test_its_images_are_those_of_the_findings(inspection, shown):
    captions = shown.captions
    assert f'{EVIL.replace("/", "_")}, with its annotations' in captions
    copied = captions.index('val: 00000001.jpg')
    assert captions[copied + 1] == 'train: 00000002.jpg'
    anew = captions.index('val: 00000002.jpg')
    assert captions[anew + 1] == 'train: 00000003.jpg'
    assert not any('00000004' in caption for caption in captions)
    pixels = [
        cv2.imdecode(np.frombuffer(base64.b64decode(image.split(',')[1]), np.uint8), 1)
        for image in shown.images
    ]
    assert all(image.shape == (64, 64, 3) for image in pixels)
    assert np.abs(pixels[copied].astype(int) - pixels[copied + 1]).max() == 0
    assert len(pixels) == 1 + 4 + 2 * 2
    assert f'This page shows {len(pixels)} images' in shown.text


def test_its_size_is_bounded(inspection, tmp_path, monkeypatch):
    monkeypatch.setattr(page, 'MOST', 3)
    text = write_page(inspection, tmp_path / 'a.html', name='a', count=5).read_text()
    assert len(Reader(text).images) == 3 and 'at most 3' in text


def test_an_image_on_a_page_is_no_larger_than_it_should_be():
    source = inline_image(np.zeros((30, 90, 3), np.uint8), 45)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(source.split(',')[1]), np.uint8), 1)
    assert image.shape == (15, 45, 3)


def test_a_template_that_asks_for_more_is_an_error(tmp_path):
    (tmp_path / 'a.html').write_text(
        '{% extends "base.html" %}{% block title %}{{ given }}{% endblock %}'
        '{% block body %}{{ missing }}{% endblock %}'
    )
    with pytest.raises(Exception, match="'missing' is undefined"):
        render('a.html', tmp_path, given=1)
    assert '<title>&lt;b&gt;</title>' in render('a.html', tmp_path, given='<b>', missing='')
