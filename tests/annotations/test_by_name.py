"""Labels are those of the classes' names, whatever the order and ids of a file's categories."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS

from mmtrtvit.annotations.coco_file import read_coco
from mmtrtvit.engine.classes import map_by_name
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError

CLASSES = ('cat', 'dog', 'bird')
OBJECTS = [('dog', [4, 4, 20, 10]), ('cat', [30, 8, 12, 12]), ('bird', [10, 30, 16, 20])]
FILES = {
    'in order': [(1, 'cat'), (2, 'dog'), (3, 'bird')],
    'in another order': [(3, 'bird'), (1, 'dog'), (2, 'cat')],
    'with other ids': [(17, 'dog'), (5, 'cat'), (0, 'bird')],
    'with a root of the same name': [(0, 'cat'), (1, 'cat'), (2, 'dog'), (3, 'bird')],
    'with categories of no class': [(9, 'cow'), (2, 'dog'), (4, 'bird'), (1, 'cat'), (3, 'hen')],
}


@pytest.fixture(scope='module', autouse=True)
def mmdet():
    import_host('mmdet')


def write(path, categories, objects=OBJECTS, encoding='utf-8'):
    ids = {name: key for key, name in categories}  # of the last one of each name
    annotations = [
        dict(
            id=number,
            image_id=1,
            category_id=ids[name],
            bbox=box,
            area=box[2] * box[3],
            iscrowd=0,
        )
        for number, (name, box) in enumerate(objects, 1)
    ]
    content = dict(
        images=[dict(id=1, file_name='a.jpg', width=64, height=64)],
        annotations=annotations,
        categories=[dict(id=key, name=name) for key, name in categories],
    )
    path.write_bytes(json.dumps(content).encode(encoding))
    return str(path)


def config(file):
    dataset = dict(
        type='CocoDataset',
        ann_file=file,
        data_prefix=dict(img=''),
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )
    made = Config(
        dict(
            default_scope='mmdet',
            val_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[dataset])),
            val_evaluator=[dict(type='CocoMetric', ann_file=file)],
        )
    )
    map_by_name(made)
    return made


def build(made):
    with DATASETS.switch_scope_and_registry('mmdet') as registry:
        return registry.build(dict(made.val_dataloader.dataset.datasets[0]))


def labels(made):
    return [each['bbox_label'] for each in build(made).get_data_info(0)['instances']]


def evaluate(made, predicted):
    with METRICS.switch_scope_and_registry('mmdet') as registry:
        metric = registry.build(dict(made.val_evaluator[0], classwise=True))
    metric.dataset_meta = build(made).metainfo
    boxes = torch.tensor([[x, y, x + w, y + h] for _, (x, y, w, h) in OBJECTS]).float()
    instances = dict(bboxes=boxes, scores=torch.ones(3), labels=torch.tensor(predicted))
    metric.process({}, [dict(img_id=1, ori_shape=(64, 64), pred_instances=instances)])
    return metric.evaluate(1)


@pytest.mark.parametrize('categories', FILES.values(), ids=FILES)
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_labels_are_those_of_the_names(tmp_path, categories, encoding):
    made = config(write(tmp_path / 'a.json', categories, encoding=encoding))
    assert labels(made) == [1, 0, 2]


@pytest.mark.parametrize('categories', FILES.values(), ids=FILES)
def test_the_metric_counts_them_by_name(tmp_path, categories):
    made = config(write(tmp_path / 'a.json', categories))
    assert evaluate(made, [1, 0, 2])['coco/bbox_mAP'] == pytest.approx(1)
    assert labels(made) == [1, 0, 2]
    wrong = evaluate(made, [0, 1, 2])
    assert wrong['coco/bbox_mAP'] == pytest.approx(1 / 3, abs=1e-3)
    assert wrong['coco/bird_precision'] == pytest.approx(1)


def test_objects_of_all_categories_of_a_name(tmp_path):
    file = tmp_path / 'a.json'
    write(file, FILES['in order'])
    content = json.loads(file.read_text())
    content['categories'] = [dict(id=key, name='cat') for key in (3, 1, 2)]
    file.write_text(json.dumps(content))
    assert labels(config(str(file))) == [0, 0, 0]


def test_a_class_that_a_file_lacks_keeps_its_number(tmp_path):
    objects = [OBJECTS[0], OBJECTS[2]]
    made = config(write(tmp_path / 'a.json', [(1, 'dog'), (2, 'bird')], objects))
    assert labels(made) == [1, 2]


def test_other_scopes_and_types_stay():
    made = Config(
        dict(default_scope='mmseg', train_dataloader=dict(dataset=dict(type='CocoDataset')))
    )
    map_by_name(made)
    assert made.train_dataloader.dataset.type == 'CocoDataset'
    made = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dict(type='Mine'))))
    map_by_name(made)
    assert made.train_dataloader.dataset.type == 'Mine'


def test_a_type_that_is_a_class():
    from mmdet.datasets import CocoDataset

    made = Config(dict(default_scope='mmdet'))
    made.train_dataloader = dict(dataset=dict(type=CocoDataset))
    map_by_name(made)
    assert made.train_dataloader.dataset.type == 'mmdet.CocoDatasetByName'


@pytest.mark.parametrize(
    'data, part',
    [
        (b'{"images": [', 'is not a JSON file'),
        ('{"images": "Größe"}'.encode('cp1252'), 'is not in UTF-8'),
        ('{"images": "图像标注"}'.encode('gb18030'), 'perhaps in gb18030'),
        (b'[' * 100000, 'a.json is n'),
        (b'[1]', 'is a list itself'),
        (b'{"images": [], "annotations": []}', 'no list of categories (there is none)'),
        (b'{"images": [], "categories": {}}', 'no list of categories (there is a dict)'),
        (b'{"images": [1], "categories": []}', 'not all in the list are dictionaries'),
    ],
)
def test_what_is_no_coco_file(tmp_path, data, part):
    (tmp_path / 'a.json').write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_coco(tmp_path / 'a.json')
    assert part in str(caught.value) and 'a.json' in str(caught.value)
    assert str(caught.value).isprintable()
