"""Every reader of files from outside, fed with what it does not expect.

Valid files are damaged at random: bytes, words of their text, values of their JSON. Whatever comes
of it, a reader reads it or raises a UserError, within seconds and without a crash.
``pytest tests/test_fuzz.py --fuzz-examples 5000`` tries longer.
"""

import contextlib
import json
import re
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mmtrtvit.datasets import make_shapes
from mmtrtvit.datasets.convert import convert
from mmtrtvit.datasets.formats.by_name import find
from mmtrtvit.datasets.formats.voc import find_voc
from mmtrtvit.datasets.formats.yolo import find_yolo
from mmtrtvit.datasets.inspection import inspect_data
from mmtrtvit.datasets.inspection.drawing import choose, draw_image
from mmtrtvit.deploy.workflow import read_deploy_config
from mmtrtvit.engine.checks import check_data
from mmtrtvit.engine.command_line import read_values
from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError
from mmtrtvit.images import read_image
from mmtrtvit.media import find_media, read_frames
from mmtrtvit.runtime.annotations import read_annotations
from mmtrtvit.weights.checkpoints import read_weights

SECONDS = 20  # that one input may take
ODD_WORDS = [
    *(b'', b'-1', b'0', b'nan', b'inf', b'1e999', b'9' * 20, b'null', b'true', b'"', b'..', b'/'),
    *(b'\0', b'\xff\xfe', b'[' * 2000, b'<', b'&x;', '\u00e9\u4e2d'.encode()),
]
PLAIN = [None, True, -1, 0, 3, 1.5, 1e30, 1e9, 10**400, float('nan'), '', 'x', '../x']
ODD_VALUES = st.recursive(
    st.sampled_from(PLAIN),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def damage_bytes(draw, content):
    """Cuts a piece out and puts other bytes in its place."""
    start = draw(st.integers(0, len(content)))
    end = draw(
        st.integers(start, min(len(content), start + draw(st.sampled_from([0, 1, 8, 10**6]))))
    )
    return content[:start] + draw(st.binary(max_size=16)) + content[end:]


def damage_words(draw, content):
    """Puts something odd in the place of a word or number."""
    words = list(re.finditer(rb'[\w.+-]+', content))
    if not words:
        return draw(st.sampled_from(ODD_WORDS))
    word = words[draw(st.integers(0, len(words) - 1))]
    return content[: word.start()] + draw(st.sampled_from(ODD_WORDS)) + content[word.end() :]


def damage_values(draw, content):
    """Puts another value into JSON, or takes one out; other files get odd words."""
    try:
        root = [json.loads(content)]
    except (ValueError, RecursionError):  # of an odd word that was put in before
        return damage_words(draw, content)
    part, key = root, 0
    while isinstance(part[key], list | dict) and part[key] and draw(st.integers(0, 5)):
        part = part[key]
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
    if part is not root and draw(st.booleans()):
        del part[key]
    else:
        part[key] = draw(ODD_VALUES)
    return json.dumps(root[0]).encode()


@st.composite
def damaged(draw, content):
    for _ in range(draw(st.integers(1, 3))):
        damage = draw(st.sampled_from([damage_bytes, damage_words, damage_values]))
        content = damage(draw, content)
    return content


@contextlib.contextmanager
def limited(seconds=SECONDS):
    def stop(*_):
        raise TimeoutError(f'it took more than {seconds} seconds')

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def write_exports(root):
    """An image with a box and a polygon as CVAT, labelme and Label Studio export it."""
    box, polygon = [[3, 4], [20, 20]], [[1, 1], [9, 1], [9, 9]]
    for kind in ('cvat', 'labelme', 'label_studio'):
        for split in ('train', 'val'):
            (root / kind / split).mkdir(parents=True)
            shutil.copy(root / 'x.jpg', root / kind / split / f'{split}.jpg')
            shapes = [
                dict(label='a', points=box, shape_type='rectangle'),
                dict(label='b', points=polygon, shape_type='polygon', group_id=1),
            ]
            content = dict(shapes=shapes, imagePath=f'{split}.jpg', imageWidth=32, imageHeight=24)
            if kind == 'labelme':
                (root / kind / split / f'{split}.json').write_text(json.dumps(content))
    entry = (
        '<image name="{0}/{0}.jpg" subset="{0}" width="32" height="24"><box label="a" xtl="3" '
        'ytl="4" xbr="20" ybr="20" rotation="9"/><polygon label="b" points="1,1;9,1;9,9"/>'
        '<mask label="b" rle="1,2,1" left="3" top="4" width="2" height="2"/></image>'
    )
    images = entry.format('train') + entry.format('val')
    (root / 'cvat/annotations.xml').write_text(f'<annotations>{images}</annotations>')
    size = dict(original_width=32, original_height=24)
    rectangle = dict(x=10, y=10, width=20, height=20, rotation=5, rectanglelabels=['a'])
    results = [
        dict(size, type='rectanglelabels', value=rectangle),
        dict(size, type='polygonlabels', value=dict(points=polygon, polygonlabels=['b'])),
    ]
    tasks = [
        dict(data=dict(image=f'/data/{split}.jpg'), annotations=[dict(result=results)])
        for split in ('train', 'val')
    ]
    (root / 'label_studio/export.json').write_text(json.dumps(tasks))


def convert_export(root, kind, source):
    convert(find(kind, root / source), root / 'out', val=0.5, overwrite=True)


@pytest.fixture(scope='module')
def valid(tmp_path_factory):
    """A folder of valid files."""
    root = tmp_path_factory.mktemp('valid')
    make_shapes(root, 2, val=1, size=64, seed=1)
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    for name in ('x.jpg', 'x.png', 'x.webp', 'x.tif', 'x.bmp'):
        assert cv2.imwrite(str(root / name), image)
    for split in ('train', 'val'):
        for kind in ('yolo', 'voc'):
            folder = root / kind / 'images' / split if kind == 'yolo' else root / kind / split
            folder.mkdir(parents=True)
            shutil.copy(root / 'x.jpg', folder / f'{split}.jpg')
        labels = root / 'yolo/labels' / split
        labels.mkdir(parents=True)
        (labels / f'{split}.txt').write_text('0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.9 0.1 0.9 0.9\n')
        (root / 'voc' / split / f'{split}.xml').write_text(
            '<annotation><size><width>32</width><height>24</height></size><object><name>cat</name>'
            '<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>'
            '</annotation>'
        )
    (root / 'yolo/data.yaml').write_text('train: images/train\nval: images/val\nnames: [a, b]\n')
    write_exports(root)
    weights = {'a.weight': torch.arange(12.0).reshape(3, 4), 'a.bias': torch.ones(3)}
    torch.save(dict(state_dict=weights, meta=dict(epoch=1)), root / 'x.pth')
    torch.save(weights, root / 'y.pth')
    try:
        from safetensors.torch import save_file
    except ImportError:
        pass
    else:
        save_file(weights, root / 'x.safetensors')
    (root / 'x.yaml').write_text('model: {type: TRTViT, arch: a}\nlist: [1, 2.5, x]\n')
    (root / 'x.json').write_text('{"model": {"type": "TRTViT", "arch": "a"}, "list": [1, 2.5]}')
    (root / 'deploy_config.json').write_text(
        json.dumps(
            dict(
                onnx_config=dict(input_shape=[320, 320], dynamic_axes=dict(input={'0': 'batch'})),
                codebase_config=dict(
                    type='mmdet',
                    task='ObjectDetection',
                    post_processing=dict(score_threshold=0.1, iou_threshold=0.5),
                ),
                backend_config=dict(
                    type='tensorrt',
                    common_config=dict(fp16_mode=True, max_workspace_size=1 << 30),
                    model_inputs=[
                        dict(
                            input_shapes=dict(
                                input=dict(
                                    min_shape=[1, 3, 320, 320],
                                    opt_shape=[1, 3, 320, 320],
                                    max_shape=[1, 3, 320, 320],
                                )
                            )
                        )
                    ],
                ),
            )
        )
    )
    return root


@pytest.fixture(scope='module')
def config_file(valid):
    return valid / 'x.yaml'


def data_config(root, **dataset):
    data = dict(data_root=str(root), pipeline=[], **dataset)
    return Config(
        dict(
            default_scope='mmseg' if data['type'] == 'BaseSegDataset' else 'mmdet',
            model=dict(roi_head=dict(mask_head=dict(type='FCNMaskHead'))),
            train_dataloader=dict(dataset=data, batch_size=1),
        )
    )


def coco(root):
    return data_config(
        root,
        type='CocoDataset',
        metainfo=dict(classes=('disc', 'triangle', 'ring')),
        ann_file='annotations/instances_training.json',
        data_prefix=dict(img='images/training'),
    )


def label_maps(root):
    return data_config(
        root,
        type='BaseSegDataset',
        metainfo=dict(classes=('background', 'disc', 'triangle', 'ring')),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        img_suffix='.jpg',
        seg_map_suffix='.png',
    )


def inspect(config, out=None):
    for split in inspect_data(config, workers=1).splits:
        for data, image in choose(split, 1) if out else ():
            draw_image(data, image, out)


def frames(file):
    media, _ = find_media([file])
    for medium in media:
        list(read_frames(medium))


COCO = 'annotations/*training.json'
READERS = {
    'checkpoint': ('*.pth', lambda root, file: read_weights(file)),
    'safetensors': ('*.safetensors', lambda root, file: read_weights(file)),
    'config': ('x.[yj][as][mo][ln]', lambda root, file: read_config(file)),
    'deploy config': (
        'deploy_config.json',
        lambda root, file: read_deploy_config(file, 'mmdet'),
    ),
    'COCO, inspected': (COCO, lambda root, file: inspect(coco(root), root / 'drawn.png')),
    'COCO, trained': (COCO, lambda root, file: check_data(coco(root), ['train'])),
    'COCO, for results': (COCO, lambda root, file: read_annotations(file)),
    'images, inspected': ('images/training/*', lambda root, file: inspect(coco(root))),
    'label maps': ('annotations/training/*.png', lambda root, file: inspect(label_maps(root))),
    'images': ('x.[jpwtb][pnei][gbfm]*', lambda root, file: read_image(file)),
    'media': ('x.[jpwtb][pnei][gbfm]*', lambda root, file: frames(file)),
    'YOLO': (
        'yolo/**/*.[tyj][xap]*',
        lambda root, file: convert(find_yolo(root / 'yolo'), root / 'out', overwrite=True),
    ),
    'CVAT': ('cvat/*.xml', lambda root, file: convert_export(root, 'cvat', 'cvat')),
    'labelme': (
        'labelme/*/*.json',
        lambda root, file: convert_export(root, 'labelme', 'labelme'),
    ),
    'Label Studio': (
        'label_studio/*.json',
        lambda root, file: convert_export(root, 'label-studio', 'label_studio/export.json'),
    ),
    'VOC': (
        'voc/**/*.*',
        lambda root, file: convert(find_voc(root / 'voc'), root / 'out', overwrite=True),
    ),
}


@pytest.mark.parametrize('name', READERS)
def test_damaged_files_are_read_or_refused(name, valid, tmp_path, request):
    pattern, read = READERS[name]
    root = Path(shutil.copytree(valid, tmp_path / 'x'))
    files = {file: file.read_bytes() for file in sorted(root.glob(pattern)) if file.is_file()}
    if not files and name == 'safetensors':
        pytest.skip('needs safetensors')
    for file in files:
        read(root, file)
    outcomes = set()

    @settings(
        max_examples=request.config.getoption('--fuzz-examples'),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def try_damaged(data):
        file = data.draw(st.sampled_from(list(files)))
        new = file.parent / f'new{file.suffix}'  # a checkpoint that is mapped may not change
        new.write_bytes(data.draw(damaged(files[file])))
        new.replace(file)
        try:
            with limited():
                read(root, file)
            outcomes.add('read')
        except UserError as error:
            assert str(error) and '<_io.' not in str(error)
            outcomes.add('refused')
        finally:
            new.write_bytes(files[file])
            new.replace(file)

    try_damaged()
    assert outcomes, 'nothing was tried'


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.text(alphabet='ab.[](){},=\'"0123456789-+e ', max_size=24),
    st.sampled_from(
        ['model.x', 'model.type', 'list', 'list.0', 'list.9', 'list.x', 'x.y', '', '.']
    ),
)
def test_options_are_read_or_refused(config_file, text, key):
    with contextlib.suppress(UserError):
        read_config(config_file, read_values([f'{key}={text}']))
