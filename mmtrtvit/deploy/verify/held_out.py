"""Held-out training images: annotated ones that no range of eight bits was taken from."""

import copy
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from ...engine.hosts import import_host
from ...engine.parts import leaf_datasets, metrics
from ...errors import UserError
from ...files import write_whole


def held_out(config: Config, *, seen: Collection[str], count: int, folder: Path) -> Config:
    """Returns a config whose test data are training images, and whose metrics are on these.

    Args:
        config: Config of the model; the first data set of its training is used.
        seen: Files that are left out.
        count: How many images, evenly spread, or all if there are fewer.
        folder: Gets the annotations of these images, where a metric reads them from a file, and
            what an evaluation writes.

    Raises:
        UserError: If there is no such image, or the config names no metric.
    """
    if not any(metric for _, metric in metrics(config, 'test')):
        raise UserError(
            f'calib_config.max_drop: {config.filename} has no test_evaluator, so there is no '
            'metric that could drop. Leave max_drop out.'
        )
    scope = config.get('default_scope')
    import_host(scope)
    training, test = (
        dict(next((leaf for _, leaf in leaf_datasets(config, split)), {}))
        for split in ('train', 'test')
    )
    whole = training | (dict(test_mode=True) if scope == 'mmdet' else {})  # nothing is filtered
    try:
        with DefaultScope.overwrite_default_scope(scope):
            dataset = DATASETS.build(dict(whole, pipeline=[]))
    except (OSError, AssertionError) as error:  # the latter MMSegmentation's, of a missing file
        raise UserError(
            f'calib_config.max_drop: the annotations of the training data of {config.filename} '
            f'cannot be read: {error}'
        ) from error
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    free = [index for index, info in enumerate(infos) if info['img_path'] not in seen]
    if not free:
        raise UserError(
            f'calib_config.max_drop: all {len(infos)} training images show the ranges, none is '
            f'left to evaluate on. Take calib_config.num_images below {len(infos)}.'
        )
    places = np.linspace(0, len(free) - 1, min(count, len(free))).round().astype(int)
    chosen = [free[place] for place in places]
    result = copy.deepcopy(config)
    changes: dict[str, Any] = dict(pipeline=test.get('pipeline'))
    if any(metric.get('ann_file') for _, metric in metrics(config, 'test')):
        path = folder / 'annotations.json'
        _write_annotations(dataset.ann_file, path, {infos[index]['img_id'] for index in chosen})
        changes['ann_file'] = str(path)
        for _, metric in metrics(result, 'test'):
            if metric.get('ann_file'):
                metric['ann_file'] = str(path)
    else:
        changes['indices'] = chosen
    result.test_dataloader = dict(config.test_dataloader, dataset=whole | changes)
    result.work_dir = str(folder)
    result.log_level = 'WARNING'
    return result


def _write_annotations(source: str, target: Path, ids: Collection[Any]) -> None:
    """Writes the part of a file in COCO format that is about some images."""
    content = json.loads(Path(source).read_text(encoding='utf-8-sig'))
    content['images'] = [each for each in content['images'] if each['id'] in ids]
    content['annotations'] = [
        each for each in content.get('annotations', ()) if each['image_id'] in ids
    ]
    if not content['annotations']:
        raise UserError(
            f'calib_config.max_drop: {source} has no annotation of the {len(ids)} images to '
            'evaluate on, so there is no metric that could drop. Leave max_drop out.'
        )
    write_whole(target, json.dumps(content))
