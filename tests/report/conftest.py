"""Work dirs to report on, and a reader of the pages."""

import shutil
from html.parser import HTMLParser

import pytest
from mmengine.config import Config


@pytest.fixture(scope='module')
def folder(small_models, tmp_path_factory):
    """A work dir for each kind of model, trained by nobody, beside their data."""
    folder = tmp_path_factory.mktemp('reported')
    shutil.copytree(small_models / 'data', folder / 'data')
    for name in ('retinanet', 'mask_rcnn', 'fpn', 'classifier'):
        (folder / name).mkdir()
        config = Config.fromfile(small_models / f'{name}.py')
        if name != 'fpn':
            config.merge_from_dict(dict(randomness=dict(seed=0)))
        config.dump(folder / name / f'{name}.py')
        shutil.copy(small_models / f'{name}.pth', folder / name / 'epoch_1.pth')
    return folder


@pytest.fixture(scope='session')
def reader():
    """Reads a page: ``reader(text)`` has its anchors, links, images, rows of tables and tags."""
    return Reader


class Reader(HTMLParser):
    """Collects anchors, links, images, rows of tables and tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.images, self.rows, self.text = [], [], [], [], [], ''
        self.cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes['id']] if 'id' in attributes else []
        self.links += [attributes[key] for key in ('href', 'xlink:href') if key in attributes]
        self.images += [attributes['src']] if tag == 'img' else []
        if tag == 'tr':
            self.rows.append([])
        self.cell = tag in ('td', 'th')
        if self.cell:
            self.rows[-1].append('')

    def handle_endtag(self, tag):
        self.cell = False

    def handle_data(self, data):
        self.text += data
        if self.cell:
            self.rows[-1][-1] += data

    def row(self, name):
        return next(row for row in self.rows if row and row[0] == name)
