import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmtrtvit.datasets.generated import shapes
from mmtrtvit.datasets.generated.shapes import CLASSES, SPLITS, draw_scene, make_shapes

ARGUMENTS = {'train': 12, 'val': 4, 'size': (80, 112), 'seed': 3, 'objects': (2, 9)}


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp('made') / 'shapes', **ARGUMENTS)


@pytest.fixture(scope='module', params=SPLITS)
def split(request, made):
    root, name = made['root'], request.param
    return root, name, COCO(root / f'annotations/instances_{name}.json'), made['splits'][name]


def scene(name: str, index: int):
    rng = np.random.default_rng([ARGUMENTS['seed'], list(SPLITS).index(name), index])
    return draw_scene(rng, ARGUMENTS['size'], ARGUMENTS['objects'])


def test_layout(split):
    root, name, coco, counts = split
    stems = [f'{index:08d}' for index in range(ARGUMENTS[SPLITS[name]])]
    for folder, suffix in (('images', '.jpg'), ('annotations', '.png')):
        assert sorted(p.name for p in (root / folder / name).iterdir()) == [
            stem + suffix for stem in stems
        ]
    for index, entry in coco.imgs.items():
        image = cv2.imread(str(root / 'images' / name / entry['file_name']))
        assert image.shape == (*ARGUMENTS['size'], 3) == (entry['height'], entry['width'], 3)
        assert abs(image - scene(name, index)[0].astype(float)).mean() < 12  # JPEG
    assert [coco.cats[i]['name'] for i in (1, 2, 3)] == list(CLASSES)
    assert min(coco.anns) == 1 and len(coco.anns) == len(coco.dataset['annotations'])
    assert {'info', 'licenses'} <= coco.dataset.keys()
    assert counts['images'] == len(stems)
    assert sum(counts['sizes'].values()) == len(coco.anns)
    assert counts['instances'] == {
        name: len(coco.getAnnIds(catIds=i)) for i, name in enumerate(CLASSES, 1)
    }


def test_annotations_reproduce_visible_masks_and_label_maps(split):
    root, name, coco, _ = split
    forms = set()
    for index in coco.imgs:
        _, instances, categories = scene(name, index)
        labels = cv2.imread(str(root / f'annotations/{name}/{index:08d}.png'), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint8
        painted = np.zeros_like(labels)
        annotations = coco.imgToAnns[index]
        assert [each['category_id'] for each in annotations] == categories
        for number, each in enumerate(annotations, 1):
            mask, segmentation = coco.annToMask(each), each['segmentation']
            assert not painted[mask > 0].any()
            painted[mask > 0] = each['category_id']
            np.testing.assert_array_equal(mask, instances == number)
            assert each['area'] == mask.sum() and each['iscrowd'] == 0
            assert each['bbox'] == coco_mask.toBbox(coco.annToRLE(each)).tolist()
            contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            assert isinstance(segmentation, list) == (len(contours) == 1)
            assert isinstance(segmentation, list) or isinstance(segmentation['counts'], str)
            forms.add(type(segmentation))
        np.testing.assert_array_equal(labels, painted)
    assert forms == {list, dict}


@pytest.mark.parametrize('size', [(64, 64), (96, 160), (192, 192)])
def test_objects_stay_visible(monkeypatch, size):
    whole, paint = [], shapes._paint

    def record(rng, canvas, alpha, inside):
        whole.append(int((alpha >= 128).sum()))
        paint(rng, canvas, alpha, inside)

    monkeypatch.setattr(shapes, '_paint', record)
    monkeypatch.setattr(shapes, 'MIN_DIAMETER', 5)
    occluded = 0
    for seed in range(12):
        whole.clear()
        _, instances, categories = draw_scene(np.random.default_rng(seed), size, (10, 16))
        visible = np.bincount(instances.ravel(), minlength=len(whole) + 1)[1:]
        assert 10 <= len(whole) == len(categories) <= 16
        assert (visible >= np.maximum(16, 0.25 * np.array(whole))).all()
        occluded += (visible < whole).sum()
    assert occluded > 24


def test_objects_contrast_with_what_they_cover(monkeypatch):
    changes, paint = [], shapes._paint

    def record(rng, canvas, alpha, inside):
        before = canvas.copy()
        paint(rng, canvas, alpha, inside)
        changes.append(np.median(np.linalg.norm(canvas - before, axis=0)[alpha[inside] >= 128]))

    monkeypatch.setattr(shapes, '_paint', record)
    for seed in range(30):
        draw_scene(np.random.default_rng(seed), (96, 96), (8, 8))
    assert len(changes) == 240 and min(changes) > 30 and np.quantile(changes, 0.02) > 50


def test_image_shows_the_objects_where_the_masks_are(monkeypatch):
    scenes = [draw_scene(np.random.default_rng(seed), (96, 144), (1, 1)) for seed in range(8)]
    monkeypatch.setattr(shapes, '_paint', lambda *args: None)
    for seed, (image, instances, _) in enumerate(scenes):
        empty = draw_scene(np.random.default_rng(seed), (96, 144), (1, 1))[0]
        change = abs(image.astype(float) - empty).sum(axis=2)
        outside = cv2.dilate(instances, np.ones((5, 5), np.uint8)) == 0
        assert change[instances > 0].mean() > 60 > 2 * change[outside].mean()


def test_colour_does_not_tell_the_class():
    colours = {category: [] for category in range(1, len(CLASSES) + 1)}
    for seed in range(160):
        image, instances, categories = draw_scene(np.random.default_rng(seed), (64, 64), (4, 4))
        for number, category in enumerate(categories, 1):
            colours[category].append(image[instances == number].mean(axis=0))
    means = np.array([np.mean(each, axis=0) for each in colours.values()])
    assert min(map(len, colours.values())) > 100
    assert np.ptp(means, axis=0).max() < 25


def test_sizes_and_classes_vary():
    diameters = []
    for seed in range(40):
        _, instances, _ = draw_scene(np.random.default_rng(seed), (192, 192), (1, 1))
        diameters.append(max(cv2.boundingRect(instances)[2:]) / 192)
    assert min(diameters) < 0.2 and max(diameters) > 0.5


def test_equal_arguments_give_equal_bytes(made, tmp_path):
    again = make_shapes(tmp_path / 'elsewhere', **ARGUMENTS)
    assert digests(again['root']) == digests(made['root'])
    assert again['splits'] == made['splits']


def test_more_images_keep_the_first_ones(made, tmp_path):
    more = make_shapes(tmp_path / 'more', **ARGUMENTS | {'train': 14, 'val': 5})
    first = {
        name: digest for name, digest in digests(made['root']).items() if not name.endswith('.json')
    }
    assert first.items() <= digests(more['root']).items()


def test_all_images_differ(made, tmp_path):
    other = make_shapes(tmp_path / 'other', **ARGUMENTS | {'seed': 4})
    images = [
        digest
        for data in (made, other)
        for name, digest in digests(data['root']).items()
        if name.endswith('.jpg')
    ]
    assert len(set(images)) == len(images) == 32


def test_complete_data_set_is_left_alone(tmp_path):
    root, calls = tmp_path / 'shapes', []
    first = make_shapes(root, 2, val=1, size=64, progress=lambda: calls.append(1))
    times = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    second = make_shapes(root, 2, val=1, size=64, overwrite=True, progress=lambda: calls.append(1))
    assert len(calls) == 3
    assert times == {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    assert second == first | {'written': False}


def test_incomplete_data_set_is_mended(tmp_path):
    root = tmp_path / 'shapes'
    make_shapes(root, 2, val=1, size=64)
    before = digests(root)
    (root / 'annotations/training/00000001.png').unlink()
    assert make_shapes(root, 2, val=1, size=64)['written']
    assert digests(root) == before


def test_two_processes_may_make_the_same_data(tmp_path):
    root = tmp_path / 'shapes'

    def other_process():
        if not root.exists():
            make_shapes(root, train=1, val=1, size=64)

    summary = make_shapes(root, train=1, val=1, size=64, progress=other_process)
    assert not summary['written']
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


def test_another_process_may_have_made_other_data(tmp_path):
    root = tmp_path / 'shapes'

    def other_process():
        if not root.exists():
            make_shapes(root, train=2, val=1, size=64)

    with pytest.raises(FileExistsError, match='overwrite them'):
        make_shapes(root, train=1, val=1, size=64, progress=other_process)


def test_other_arguments_need_overwrite(tmp_path):
    root = tmp_path / 'shapes'
    make_shapes(root, 3, val=2, size=64)
    foreign = [root / 'notes.txt', root / 'images/training/mine.jpg', root / 'work_dirs/a/log.json']
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('mine')
    before = digests(root)
    with pytest.raises(FileExistsError, match='overwrite=True'):
        make_shapes(root, 2, val=1, size=64, seed=1)
    assert digests(root) == before
    make_shapes(root, 2, val=1, size=64, seed=1, overwrite=True)
    assert [path.read_text() for path in foreign] == ['mine'] * 3
    for path in foreign:
        path.unlink()
    make_shapes(tmp_path / 'fresh', 2, val=1, size=64, seed=1)
    assert digests(root) == digests(tmp_path / 'fresh')


def test_folders_of_releases_before_are_known(tmp_path):
    make_shapes(tmp_path, 1, val=1, size=64)
    assert json.loads((tmp_path / 'shapes.json').read_text())['generator'] == (
        'mmtrtvit.datasets.shapes'
    )


@pytest.mark.parametrize(
    'marker',
    [
        None,
        '',
        '[]',
        '{"generator": "another"}',
        json.dumps({'generator': shapes.GENERATOR, 'version': 1, 'splits': {}, 'arguments': {}}),
    ],
)
def test_foreign_folder_is_refused(tmp_path, marker):
    (tmp_path / 'mine.txt').write_text('mine')
    if marker is not None:
        (tmp_path / 'shapes.json').write_text(marker)
    before = digests(tmp_path)
    with pytest.raises(FileExistsError, match=str(tmp_path)):
        make_shapes(tmp_path, 1, val=1, size=64, overwrite=True)
    with pytest.raises(FileExistsError, match='mine.txt'):
        make_shapes(tmp_path / 'mine.txt', 1, val=1, size=64)
    assert digests(tmp_path) == before


@pytest.mark.parametrize('existing', [False, True])
def test_interrupted_run_leaves_nothing_half_done(tmp_path, existing):
    root = tmp_path / 'data/shapes'
    if existing:
        make_shapes(root, 2, val=1, size=64)
    before = digests(tmp_path)
    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shapes(root, 2, val=2, size=64, overwrite=True, progress=interrupt)
    assert digests(tmp_path) == before
    assert root.exists() == existing
    assert make_shapes(root, 2, val=2, size=64, overwrite=True)['written']


def test_replacement_stopped_anywhere_is_never_complete(monkeypatch, tmp_path):
    make_shapes(tmp_path / 'fresh', 2, val=2, size=64, seed=1)
    replace = shapes.os.replace
    for stop in range(11):
        root = tmp_path / f'{stop}'
        make_shapes(root, 2, val=1, size=64)
        moves = []

        def stopping(source, target, moves=moves, stop=stop):
            if len(moves) == stop:
                raise OSError('stopped')
            moves.append(target)
            replace(source, target)

        monkeypatch.setattr(shapes.os, 'replace', stopping)
        with pytest.raises(OSError, match='stopped'):
            make_shapes(root, 2, val=2, size=64, seed=1, overwrite=True)
        monkeypatch.undo()
        assert make_shapes(root, 2, val=2, size=64, seed=1, overwrite=True)['written']
        assert digests(root) == digests(tmp_path / 'fresh')


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('train', 0),
        ('val', 0),
        ('train', 1.5),
        ('train', (1, 2)),
        ('size', 63),
        ('size', (64, 5000)),
        ('size', (64, 64, 3)),
        ('seed', -1),
        ('objects', (5, 2)),
        ('objects', (0, 2)),
        ('objects', 3),
    ],
)
def test_bad_argument_is_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=rf'^{name} must be') as error:
        make_shapes(tmp_path / 'shapes', **{'train': 1, 'val': 1, name: value})
    assert str(value).strip('()') in str(error.value)
    assert not any(tmp_path.iterdir())


def test_no_trace_of_time_or_place(made):
    for path in made['root'].rglob('*.json'):
        text = path.read_text()
        assert str(made['root'].parent) not in text and 'date' not in text


def test_needs_no_framework():
    imported = set()
    for node in ast.walk(ast.parse(Path(shapes.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add('' if node.level else node.module.split('.')[0])
    assert imported - sys.stdlib_module_names == {'cv2', 'numpy', 'pycocotools'}


def test_command(tmp_path):
    tool = Path(__file__).parents[3] / 'tools/make_shapes.py'
    root = tmp_path / 'shapes'

    def run(*options):
        return subprocess.run(
            [
                sys.executable,
                tool,
                root,
                '--train',
                '2',
                '--val',
                '1',
                '--size',
                '64',
                '96',
                *options,
            ],
            capture_output=True,
            text=True,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    assert 'written to' in done.stdout and str(root) in done.stdout
    assert cv2.imread(str(root / 'images/validation/00000000.jpg')).shape == (64, 96, 3)
    refused = run('--seed', '1')
    assert refused.returncode == 1 and '--overwrite' in refused.stderr
    assert 'Traceback' not in refused.stderr
