"""Calibration images: images of a data set as inputs of a graph, for the ranges of INT8 and FP8."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope

from ...engine.hosts import import_host
from ...engine.parts import leaf_datasets
from ...engine.predictor import Predictor
from ...errors import UserError
from .evaluation import HostPreprocessor


def training_images(config: Config, count: int) -> list[str]:
    """Files of ``count`` images of the training data, evenly spread over it.

    Args:
        config: Config with a ``train_dataloader``.
        count: How many, or all if there are fewer.

    Raises:
        UserError: If the config has no training data, or there is no image in it.
    """
    import_host(config.get('default_scope'))
    files = []
    for _, settings in leaf_datasets(config, 'train'):
        with DefaultScope.overwrite_default_scope(config.get('default_scope')):
            dataset = DATASETS.build(dict(settings, pipeline=[]))
        files += [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    if not files:
        raise UserError(
            f'{config.filename}: its train_dataloader has no image to calibrate '
            'with. Name a config that has some: --calib-dataset-cfg CONFIG'
        )
    places = np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)
    return [files[place] for place in places]


def graph_inputs(
    predictor: Predictor,
    input_shape: Sequence[int | None],
    files: Iterable[str | Path],
    *,
    resizes: bool = False,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the inputs of a graph for one image after the other.

    Args:
        predictor: Reads and resizes images as the test pipeline does.
        input_shape: Shape of the graph's input, None where any size will do.
        files: Images.
        resizes: Whether the graph resizes images itself.
    """
    predictor = predictor.without_resizing() if resizes else predictor
    preprocessor = HostPreprocessor(predictor.model.data_preprocessor, input_shape, resizes=resizes)
    for file in files:
        data = preprocessor(pseudo_collate([predictor.prepare(predictor.read(file))]))
        sizes = [sample.img_shape[:2] for sample in data['data_samples']]
        yield preprocessor.arrays(data['inputs'], sizes)
