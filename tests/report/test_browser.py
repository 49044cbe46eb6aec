"""The page in a real browser, without a window: Chromium, where there is one."""

import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from mmtrtvit.report.blocks import Section, Table, Text
from mmtrtvit.report.evaluation import LABEL_MAPS, Evaluation, Sample, as_png
from mmtrtvit.report.page import write_page
from mmtrtvit.report.pictures import show_colors, show_pictures
from mmtrtvit.report.plots import plot_series
from mmtrtvit.report.show_label_maps import find_label_maps
from mmtrtvit.runtime.legend import Legend

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = pytest.mark.skipif(not CHROMIUM, reason='there is no Chromium')

# Put at the end of a copy of the page; the page itself has no script.
LOOK = """
<script>
const images = [...document.images];
const figure = document.querySelector('figure.opens');
const before = figure.getBoundingClientRect().width;
location.hash = figure.id;
setTimeout(() => {
  parent.postMessage({
    images: images.length,
    loaded: images.filter(each => each.complete && each.naturalWidth > 0).length,
    links: [...document.querySelectorAll('nav a')].every(
      each => document.querySelector(each.getAttribute('href'))),
    width: document.documentElement.scrollWidth,
    window: innerWidth,
    before: before,
    opened: figure.getBoundingClientRect().width,
    close: getComputedStyle(figure.querySelector('.close')).display,
  }, '*');
}, 50);
</script>
"""
# Shows the copy as a window of some width would; Chromium's own are at least 500 pixels wide.
FRAME = """<pre id="seen"></pre><script>
onmessage = event => {
  document.getElementById('seen').textContent = JSON.stringify(event.data);
};
</script><iframe src="copy.html" style="border:0;width:WIDTHpx;height:900px"></iframe>
"""


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """A page of every kind of block."""
    folder = tmp_path_factory.mktemp('page')
    images = [folder / f'{number}.png' for number in range(5)]
    for number, path in enumerate(images):
        cv2.imwrite(str(path), np.full((64, 96, 3), 40 * number, np.uint8))
    labels = np.zeros((64, 96), np.uint8)
    labels[20:40, 30:60] = 1
    samples = [Sample(str(path), (64, 96), as_png(labels), as_png(labels * 0)) for path in images]
    names = 'background', *(f'class {number}' for number in range(12))
    evaluation = Evaluation(LABEL_MAPS, 'a.pth', Legend(names), {}, samples)
    findings = find_label_maps(evaluation)
    blocks = [*show_colors(evaluation), *show_pictures(evaluation, findings, 2)]
    path = '/a/very/long/path/' + 'without-any-space/' * 9
    sections = [
        Section('summary', 'Summary', [Table([['run', ''], ['work dir', path]], words=True)]),
        Section('training', 'Training', [plot_series('loss', {'a': [(1, 2.0), (2, 1.0)]})]),
        *findings.sections,
        Section('images', 'Images', [Text('Touch an image.'), *blocks]),
    ]
    return write_page('it', sections, folder / 'report.html')


def run(folder, page, *options):
    return subprocess.run(
        [
            CHROMIUM,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--enable-logging=stderr',
            f'--user-data-dir={folder / "profile"}',
            *options,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize('width', [390, 1400])
def test_it_loads_whole_and_opens_images(written, tmp_path, width):
    copy = tmp_path / 'copy.html'
    copy.write_text(written.read_text(encoding='utf-8') + LOOK, encoding='utf-8')
    frame = tmp_path / 'frame.html'
    frame.write_text(FRAME.replace('WIDTH', str(width)))
    options = '--window-size=1500,1000', '--hide-scrollbars', '--virtual-time-budget=2000'
    done = run(tmp_path, frame, *options, '--dump-dom')
    assert 'CONSOLE' not in done.stderr
    seen = json.loads(re.search(r'<pre id="seen">(.+?)</pre>', done.stdout)[1])
    assert seen['images'] == seen['loaded'] > 0 and seen['links']
    assert seen['window'] == width
    assert seen['width'] <= seen['window']  # only tables move sideways
    assert seen['opened'] == seen['window'] > seen['before']
    assert seen['close'] == 'block'


def test_it_prints(written, tmp_path):
    pdf = tmp_path / 'report.pdf'
    run(tmp_path, written, f'--print-to-pdf={pdf}')
    assert pdf.read_bytes().startswith(b'%PDF') and pdf.stat().st_size > 10_000
