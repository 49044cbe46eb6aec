import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmtrtvit.engine.checks import (
    category_names,
    check_batch,
    check_data,
    check_numbers,
    check_widths,
    has_masks,
)
from mmtrtvit.engine.parts import class_counts, leaf_datasets
from mmtrtvit.engine.runner import evaluate, train
from mmtrtvit.errors import UserError

NAMES = ('disc', 'square', 'ring')


@DATASETS.register_module()
class BirdsDataset(BaseDataset):
    METAINFO = dict(classes=('hen', 'duck'))


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A detection config whose data exists below the current folder."""
    monkeypatch.chdir(tmp_path)
    dataset = dict(
        type='BirdsDataset',
        data_root='data/own',
        ann_file='train.json',
        data_prefix=dict(img='images'),
        metainfo=dict(classes=NAMES),
    )
    (tmp_path / 'data/own/images').mkdir(parents=True)
    write_coco(tmp_path / 'data/own/train.json')
    return Config(
        dict(
            default_scope='mmengine',
            model=dict(
                backbone=dict(num_classes=1000),
                roi_head=dict(
                    bbox_head=[dict(num_classes=3), dict(num_classes=3)],
                    mask_head=dict(num_classes=3),
                ),
            ),
            train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset)),
            val_dataloader=dict(
                dataset=dict(type='ConcatDataset', datasets=[dataset, dict(dataset)])
            ),
            val_evaluator=[dict(type='CocoMetric', ann_file='data/own/train.json')],
        )
    )


def write_coco(path, names=NAMES, **more):
    categories = [dict(id=i, name=name, keypoints=[['a]']]) for i, name in enumerate(names)]
    path.write_text(json.dumps(dict(images=[], annotations=[], categories=categories, **more)))


def error_of(config, splits=('train', 'val')):
    with pytest.raises(UserError) as caught:
        check_data(config, splits)
    return str(caught.value)


def test_good_data_passes(config):
    check_data(config)
    check_data(config, ('test',))


def test_missing_root_is_told_with_its_key_and_the_cure(config, tmp_path):
    config.train_dataloader.dataset.dataset.data_root = 'data/missing'
    message = error_of(config)
    key = 'train_dataloader.dataset.dataset.data_root'
    assert f'{key}: no folder {tmp_path}/data/missing\n' in message
    assert f'--cfg-options {key}=FOLDER' in message
    assert 'val_evaluator.0.ann_file=FILE' in message


def test_all_missing_files_are_told(config, tmp_path):
    dataset = config.train_dataloader.dataset.dataset
    dataset.update(ann_file='trian.json', data_prefix=dict(img='photos'))
    config.val_evaluator[0].ann_file = 'val.json'
    message = error_of(config)
    assert f'.ann_file: no file {tmp_path}/data/own/trian.json. Did you mean train.json?' in message
    assert f'.data_prefix.img: no folder {tmp_path}/data/own/photos' in message
    assert f'val_evaluator.0.ann_file: no file {tmp_path}/val.json' in message


def test_a_member_of_a_wrapper_is_named(config):
    config.val_dataloader.dataset.datasets[1].ann_file = 'other.json'
    assert 'val_dataloader.dataset.datasets.1.ann_file' in error_of(config)


def test_generated_shapes_are_generated(config):
    config.train_dataloader.dataset.dataset.data_root = 'data/shapes/'
    assert 'python tools/make_shapes.py data/shapes' in error_of(config)
    shutil.copytree('data/own', 'data/shapes')
    config.val_dataloader.dataset.datasets[0].data_root = 'data/shapes'
    config.train_dataloader.dataset.dataset.data_root = 'data/mine'
    assert 'make_shapes' not in error_of(config)


@pytest.mark.parametrize(
    'changes',
    [
        dict(data_root='s3://bucket', ann_file='no.json'),
        dict(backend_args=dict(backend='petrel'), ann_file='no.json'),
        dict(ann_file='', data_prefix='images'),
    ],
)
def test_what_is_not_on_this_disk_is_not_looked_for(config, changes):
    config.train_dataloader.dataset.dataset.update(changes)
    check_data(config, ('train',))


def test_classes_that_the_file_lacks(config):
    config.train_dataloader.dataset.dataset.metainfo = dict(classes=('disc', 'sqare', 'ring'))
    message = error_of(config)
    assert 'has names that are not in data/own/train.json: sqare.' in message
    assert 'The categories there are: disc, square, ring' in message


def test_classes_in_another_order_than_in_the_file(config):
    config.train_dataloader.dataset.dataset.metainfo = dict(classes=('ring', 'disc', 'square'))
    message = error_of(config)
    assert 'which would swap names' in message
    assert "metainfo=dict(classes=('disc', 'square', 'ring'))" in message


def test_no_order_fits_files_of_other_orders(config):
    write_coco(Path('data/own/val.json'), NAMES[::-1])
    config.val_dataloader.dataset.datasets[1].ann_file = 'val.json'
    message = error_of(config)
    assert 'val.json lists its categories: ring, square, disc' in message
    assert "No order fits the files of all splits, but type='CocoDataset' finds" in message
    assert 'Set metainfo' not in message


def test_types_that_find_classes_by_name_take_any_order(config):
    write_coco(Path('data/own/val.json'), [*NAMES[::-1], 'disc', 'star'])
    for _, dataset in [*leaf_datasets(config, 'train'), *leaf_datasets(config, 'val')]:
        dataset.update(type='CocoDatasetByName', ann_file='val.json')
    check_data(config)
    write_coco(Path('data/own/val.json'), NAMES[:2])
    config.train_dataloader.dataset.dataset.ann_file = 'train.json'
    check_data(config)  # a class that val lacks
    config.train_dataloader.dataset.dataset.ann_file = 'val.json'
    assert 'has names that are not in data/own/val.json: ring.' in error_of(config)


def test_splits_with_other_classes(config):
    write_coco(Path('data/own/train.json'), NAMES)
    for dataset in config.val_dataloader.dataset.datasets:
        dataset.update(type='CocoDatasetByName', metainfo=dict(classes=NAMES[::-1]))
    message = error_of(config)
    assert "val_dataloader.dataset.datasets.0.metainfo.classes is ('ring', 'square'," in message
    assert 'a label would mean another class' in message


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32'])
def test_other_encodings_of_json(tmp_path, encoding):
    file = tmp_path / 'a.json'
    write_coco(file, [*NAMES, 'Größe'], more=dict(segmentation=[[1, 2]]))
    file.write_bytes(file.read_text().encode(encoding))
    assert category_names(file) == [*NAMES, 'Größe'] and has_masks(file)


def segmentation(**changes):
    head = dict(type='FCNHead', num_classes=3)
    dataset = dict(type='BirdsDataset', metainfo=dict(classes=NAMES))
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(decode_head=dict(head), auxiliary_head=[dict(head)]),
            train_dataloader=dict(dataset=dict(dataset, pipeline=[dict(type='RandomRotate')])),
            val_dataloader=dict(dataset=dict(dataset)),
            val_evaluator=dict(type='IoUMetric'),
        )
    )


IGNORING = [
    'model.decode_head.ignore_index',
    'model.auxiliary_head.0.ignore_index',
    'model.data_preprocessor.seg_pad_val',
    'train_dataloader.dataset.ignore_index',
    'train_dataloader.dataset.pipeline.0.seg_pad_val',
    'val_dataloader.dataset.ignore_index',
    'val_evaluator.ignore_index',
]


@pytest.mark.parametrize('key', IGNORING)
def test_pixels_to_be_ignored_have_one_value(key):
    made = segmentation()
    made.merge_from_dict({key: 7})
    message = error_of(made)
    assert 'more than one value' in message and f'{key} is 7' in message
    options = message.split('--cfg-options ')[1].split()
    made.merge_from_dict(
        {name: int(value) for name, value in (item.split('=') for item in options)}
    )
    check_data(made)


def test_one_value_in_all_places_is_right():
    made = segmentation()
    check_data(made)
    made.merge_from_dict(dict.fromkeys(IGNORING, 7))
    check_data(made)


def test_a_string_of_classes_is_named_as_the_mistake(config):
    config.train_dataloader.dataset.dataset.metainfo = dict(classes='disc')
    assert "is the string 'disc'. It should be a tuple" in error_of(config)
    assert "('disc',)" in error_of(config)


def test_a_file_of_classes(config, tmp_path):
    (tmp_path / 'names.txt').write_text('disc\nsquare\nring\n')
    config.train_dataloader.dataset.dataset.metainfo = dict(classes='names.txt')
    check_data(config)


def test_default_classes_of_the_type(config):
    del config.train_dataloader.dataset.dataset['metainfo']
    message = error_of(config)
    assert 'train_dataloader.dataset.dataset.metainfo is not set' in message
    assert 'the 2 classes of BirdsDataset, and data/own/train.json lacks 2 of them' in message
    assert "metainfo=dict(classes=('disc', 'square', 'ring'))" in message


def test_every_wrong_head_is_named_with_its_cure(config):
    config.model.roi_head.bbox_head[1].num_classes = 80
    config.model.roi_head.mask_head.num_classes = 1
    message = error_of(config)
    assert (
        'model.roi_head.bbox_head.1.num_classes is 80, '
        'model.roi_head.mask_head.num_classes is 1, but'
    ) in message
    assert 'has 3 classes: disc, square, ring' in message
    assert message.endswith(
        '--cfg-options model.roi_head.bbox_head.1.num_classes=3 '
        'model.roi_head.mask_head.num_classes=3'
    )


def test_heads_of_a_segmentor_against_the_default_classes(config):
    config.model = dict(decode_head=dict(num_classes=2), auxiliary_head=[dict(num_classes=19)])
    config.train_dataloader.dataset = dict(type='BirdsDataset', data_prefix=dict(img_path=''))
    assert 'model.auxiliary_head.0.num_classes=2' in error_of(config, ('train',))
    config.model.auxiliary_head[0].num_classes = 2
    check_data(config, ('train',))


def test_class_counts_leaves_out_what_is_no_head():
    model = dict(backbone=dict(num_classes=1000), teacher_options=dict(num_classes=0))
    model |= dict(bbox_head=dict(num_classes=4, loss=dict(w=1)))
    assert list(class_counts(model)) == [('model.bbox_head.num_classes', 4)]


def test_categories_are_found_without_reading_the_rest(tmp_path):
    path = tmp_path / 'a.json'
    write_coco(path, [f'name{i}' for i in range(3000)], info={'categories': [1, 2]})
    assert category_names(path)[::2999] == ['name0', 'name2999']
    path.write_text('{"categories": [{"name": "a"}, {"name": "b"}], "annotations": [broken')
    assert category_names(path) == ['a', 'b']


@pytest.mark.parametrize('text, names', [('{"categories": []}', []), ('[1]', [])])
def test_other_json_has_no_categories(tmp_path, text, names):
    (tmp_path / 'a.json').write_text(text)
    assert category_names(tmp_path / 'a.json') == names


@pytest.mark.parametrize('text', ['', '{"images": [', 'hello'])
def test_what_is_not_json_is_told(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(UserError, match=r'a\.json is not a JSON file'):
        category_names(tmp_path / 'a.json')


@pytest.mark.parametrize(
    'segmentation, found',
    [
        ([[1, 2, 3, 4, 5, 6]], True),
        ([[-0.5, 2]], True),
        ([[[1, 2], [3, 4], [5, 6]]], True),
        ([[None, 2]], True),
        ([1, 2, 3, 4, 5, 6], True),
        ([[]], False),
        (dict(size=[4, 4], counts='04'), True),
        ([], False),
        (None, False),
    ],
)
def test_masks_are_found(tmp_path, segmentation, found):
    annotations = [dict(id=1, bbox=[0, 0, 3, 3]), dict(id=2, segmentation=segmentation)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(annotations=annotations)))
    assert has_masks(tmp_path / 'a.json') == found
    (tmp_path / 'a.json').write_text(json.dumps(dict(annotations=annotations), indent=1))
    assert has_masks(tmp_path / 'a.json') == found


def test_a_detector_of_masks_needs_masks(config):
    config.model.type = 'MaskRCNN'
    dataset = config.val_dataloader.dataset.datasets[0]
    dataset.pipeline = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    message = error_of(config)
    key = 'val_dataloader.dataset.datasets.0.ann_file'
    assert f'{key}: data/own/train.json has boxes but no masks' in message
    assert 'which MaskRCNN needs' in message
    dataset.pipeline[0].with_mask = False
    check_data(config)


def segmentor(**changes):
    heads = dict(
        decode_head=dict(
            type='UPerHead', in_channels=[4, 8, 16], in_index=[0, 1, 2], pool_scales=(1, 2)
        ),
        auxiliary_head=[dict(in_channels=8, in_index=1)],
    )
    return Config(
        dict(
            model=dict(backbone=dict(type='TRTViT', arch='a'), **heads) | changes,
            train_dataloader=dict(batch_size=1),
        )
    )


BACKBONE = SimpleNamespace(out_channels=(4, 8, 16))


def widths_error(config, backbone=BACKBONE):
    with pytest.raises(UserError) as caught:
        check_widths(config, backbone)
    return str(caught.value)


def test_widths_that_fit_pass():
    check_widths(segmentor(), BACKBONE)
    check_widths(segmentor(neck=[dict(in_channels=[4, 8, 16]), dict(in_channels=3)]), BACKBONE)
    check_widths(segmentor(decode_head=dict(in_channels=16)), BACKBONE)
    check_widths(segmentor(neck=dict(in_channels=[1])), SimpleNamespace())  # a foreign backbone


@pytest.mark.parametrize(
    'changes, parts',
    [
        (
            dict(neck=dict(in_channels=[4, 8])),
            [
                'model.neck.in_channels is [4, 8], but',
                'model.neck.in_channels="[4, 8, 16]"',
                "model.backbone (SimpleNamespace, arch='a') gives 3 maps of [4, 8, 16] channels",
            ],
        ),
        (dict(neck=[dict(in_channels=(4, 8, 9))]), ['model.neck.0.in_channels is [4, 8, 9]']),
        (
            dict(decode_head=dict(in_channels=[4, 16], in_index=[0, 1])),
            ['model.decode_head.in_channels="[4, 8]"'],
        ),
        (
            dict(auxiliary_head=dict(in_channels=8, in_index=3)),
            ['model.auxiliary_head.in_index is 3, but there are only the maps 0 to 2'],
        ),
        (
            dict(auxiliary_head=[dict(in_channels=8, in_index=1), dict(in_channels=8, in_index=2)]),
            ['model.auxiliary_head.1.in_channels is 8, but the maps that it gets have 16'],
        ),
    ],
)
def test_widths_that_do_not_fit(changes, parts):
    message = widths_error(segmentor(**changes))
    assert all(part in message for part in parts), message


def test_a_batch_of_one_behind_global_pooling():
    with pytest.raises(UserError, match='UPerHead pools .* train_dataloader.batch_size=2'):
        check_batch(segmentor())
    check_batch(segmentor(), world_size=2)
    check_batch(segmentor(decode_head=dict(type='FPNHead')))
    config = segmentor()
    config.train_dataloader.batch_size = 2
    check_batch(config)


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(train_dataloader=dict(batch_size=0)),
            'train_dataloader.batch_size is 0: expected a whole number of 1 or more.',
        ),
        (dict(val_dataloader=dict(batch_size='eight')), "val_dataloader.batch_size is 'eight': .*"),
        (
            dict(test_dataloader=dict(num_workers=-1)),
            'test_dataloader.num_workers is -1: expected a whole number of 0 or more.',
        ),
        (dict(train_cfg=dict(max_epochs=2.5)), 'train_cfg.max_epochs is 2.5: .*'),
        (
            dict(train_cfg=dict(max_iters='many', val_interval=1)),
            "train_cfg.max_iters is 'many': .*",
        ),
        (
            dict(default_hooks=dict(logger=dict(interval=0))),
            'default_hooks.logger.interval is 0: expected a whole number of 1 or more.',
        ),
        (
            dict(optim_wrapper=dict(optimizer=dict(lr='fast'))),
            "optim_wrapper.optimizer.lr is 'fast': expected a number of 0 or more.",
        ),
        (dict(optim_wrapper=dict(optimizer=dict(lr=float('nan')))), '.*lr is nan: .*'),
        (
            dict(optim_wrapper=dict(optimizer=dict(lr=1e-4, weight_decay=-1))),
            '.*weight_decay is -1: .*',
        ),
    ],
)
def test_numbers_that_are_none(changes, message):
    with pytest.raises(UserError, match=f'^{message}$'):
        check_numbers(Config(changes), [*changes])


def test_numbers_that_may_be(toy):
    config = toy('small')
    check_numbers(config, [*config])
    config = Config(
        dict(
            train_dataloader=dict(batch_size=None, num_workers=0),
            val_dataloader=None,
            train_cfg=dict(max_epochs=0),
            test_dataloader=dict(batch_size=0),
            optim_wrapper=dict(optimizer=dict(lr=0, weight_decay=0.05), accumulative_counts=2),
        )
    )
    check_numbers(config, config.keys() - {'test_dataloader'})


def test_numbers_are_checked_before_anything_is_built(toy):
    config = toy('small')
    config.train_dataloader.num_workers = -1
    with pytest.raises(UserError, match='train_dataloader.num_workers is -1'):
        train(config)
    config.test_dataloader.batch_size = 0
    with pytest.raises(UserError, match='test_dataloader.batch_size is 0'):
        evaluate(config, None)
    config.default_hooks.logger = dict(type='LoggerHook', interval=0)
    config.train_dataloader.num_workers = 0
    with pytest.raises(UserError, match='logger.interval is 0'):
        train(config)


def test_fewer_images_than_a_batch(toy):
    config = toy('small')
    config.train_dataloader.update(batch_size=17, drop_last=True)
    with pytest.raises(UserError, match='batch_size=17 is more .* process, 16, .*batch_size=16$'):
        train(config)
    config.train_dataloader.dataset = dict(type='ToyPatches', count=0)
    with pytest.raises(UserError, match='train_dataloader.dataset has no image$'):
        train(config)
    config.train_dataloader.dataset.count = 16
    config.train_dataloader.drop_last = False
    config.train_cfg.max_epochs = 1
    train(config)
