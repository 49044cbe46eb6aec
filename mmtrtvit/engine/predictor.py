"""Predictor: a trained model for images from anywhere, with predictions as objects and drawn."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Resize
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import UserError
from ..runtime.batches import batches
from ..runtime.drawing import draw
from ..runtime.legend import Legend
from ..weights.checkpoints import checkpoint_file, read_weights, state_dict_of
from ..weights.matching import compare_weights, require_match
from .config import read_config
from .hosts import import_host, without_onedl_notice
from .loading import AnyLoader
from .mistakes import explaining
from .parts import class_counts, leaf_datasets
from .precision import in_precision
from .results import result_of

SCOPES = 'mmdet', 'mmseg', 'mmpretrain'


def load(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    precision: str | None = None,
) -> 'Predictor':
    """Loads a detector, segmentor or classifier for prediction.

    Args:
        config: Config file of a host package, or what was read from one.
        checkpoint: Weights of exactly this model, or the work dir of a run, for its best ones;
            None for those that a training from scratch begins with.
        device: ``'cpu'``, ``'cuda:0'``, ...; default: the first GPU, or the CPU without one.
        options: Values by dotted key, as ``--cfg-options`` gives them, for a config file.
        precision: Takes a fused copy of the model that computes in it, see :func:`.in_precision`;
            None for the model itself.

    Raises:
        UserError: If the config, the checkpoint, the device or the precision cannot be used.
    """
    if not isinstance(config, Config):
        config = read_config(config, options)
    scope = config.get('default_scope')
    if scope not in SCOPES:
        raise UserError(
            f'{config.filename} has default_scope={scope!r}; the scopes that can predict are '
            f'{", ".join(SCOPES)}.'
        )
    device = usable_device(device)
    state: dict[str, Any] = {}
    if checkpoint is not None:
        checkpoint = checkpoint_file(checkpoint)
        state = read_weights(checkpoint)
    import_host(scope)
    with (
        DefaultScope.overwrite_default_scope(scope),
        without_onedl_notice(),
        warnings.catch_warnings(),
        explaining(config),
    ):
        warnings.simplefilter('ignore')  # about losses
        if checkpoint is None:
            model = _build_from_scratch(config)
        else:
            model = revert_sync_batchnorm(MODELS.build(_for_prediction(config)))
            weights = state_dict_of(state)
            require_match(
                compare_weights(model.state_dict(), weights),
                str(checkpoint),
                meta=state.get('meta'),
            )
            model.load_state_dict(weights, strict=False)  # BatchNorm's counters may be missing
        loader, transforms = _build_pipeline(config)
        legend = _legend(config, state)
    model = model.to(device).eval()
    if precision:
        model = in_precision(model, precision)
    return Predictor(model, loader=loader, transforms=transforms, legend=legend)


class Predictor:
    """A model with what comes before and after it; :func:`load` makes one.

    Args:
        model: A detector, segmentor or classifier of its host package, in evaluation mode.
        loader: The first transform of its test pipeline, for a file or an array.
        transforms: The other ones.
        legend: Names and colours of its classes.

    Attributes:
        model: As given.
        legend: As given.
        classes: Names by label.
    """

    def __init__(
        self, model: nn.Module, *, loader: Callable, transforms: Compose, legend: Legend
    ) -> None:
        self.model = model
        self.legend = legend
        self.classes = legend.names
        self._loader = loader
        self._transforms = transforms

    def __call__(
        self, images: Iterable[str | Path | np.ndarray], batch_size: int = 1
    ) -> list[BaseDataElement]:
        """Predicts on images.

        Args:
            images: Files, or arrays ``(H, W, 3)`` as OpenCV reads them: uint8, BGR.
            batch_size: Most images at once. Only consecutive ones of one size share a batch, so
                that no prediction depends on the others.

        Returns:
            ``DetDataSample`` with ``pred_instances``, ``SegDataSample`` with ``pred_sem_seg``, or
            MMPretrain's ``DataSample`` with ``pred_score``, one per image, on the CPU.

        Raises:
            UserError: If a file cannot be read, or an image is too small for the model.
        """
        arrays = (image if isinstance(image, np.ndarray) else self.read(image) for image in images)
        inputs = (self.prepare(array) for array in arrays)
        batched = batches(inputs, batch_size, shape_of=input_shape)
        return [sample for batch in batched for sample in self.predict(batch)]

    def read(self, path: str | Path) -> np.ndarray:
        """Reads an image as the pipeline of the config does: ``(H, W, 3)``, BGR.

        Raises:
            UserError: If that is not possible.
        """
        try:
            return self._loader(str(path))['img']
        except UserError:
            raise
        except Exception as error:  # of a decoder, the pipeline or the file system
            raise UserError(f'{path} cannot be read as an image.') from error

    def prepare(self, image: np.ndarray) -> dict[str, Any]:
        """Makes the input of the model from an image, ``(H, W, 3)``, BGR.

        Raises:
            UserError: If the pipeline cannot resize it.
        """
        try:
            return self._transforms(dict(self._loader(image), img_id=0))
        except cv2.error as error:
            height, width = image.shape[:2]
            raise UserError(
                f'{width} x {height} pixels cannot be resized as the config says: one side would '
                'vanish.'
            ) from error

    def without_resizing(self) -> 'Predictor':
        """A copy that leaves images in their size, for what resizes them itself."""
        other = copy.copy(self)
        idle = Resize(scale_factor=1.0)  # notes the scale, which later transforms may ask for
        steps = self._transforms.transforms
        other._transforms = Compose(
            [idle if type(each).__name__ == 'Resize' else each for each in steps]
        )
        return other

    @torch.no_grad()
    def predict(self, inputs: Sequence[dict[str, Any]]) -> list[BaseDataElement]:
        """Predicts on a batch of what :meth:`prepare` returns."""
        samples = self.model.test_step(pseudo_collate(inputs))
        for sample in samples:
            sample.pop('seg_logits', None)  # one map per class in the size of the image
        return [sample.cpu() for sample in samples]

    def draw(
        self, image: np.ndarray, sample: BaseDataElement, score_thr: float = 0.3
    ) -> np.ndarray:
        """Draws a prediction onto its image.

        Args:
            image: ``(H, W, 3)``, BGR; stays as it is.
            sample: The prediction.
            score_thr: Detections up to this score are left out.

        Returns:
            An image of the same shape, uint8, BGR.
        """
        return draw(image, result_of(sample).above(score_thr), self.legend)


def input_shape(data: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the shape of what :meth:`Predictor.prepare` made of an image, ``(C, H, W)``."""
    return data['inputs'].shape


def usable_device(name: str | None) -> torch.device:
    """Returns a device by its name, or without one the first GPU, or else the CPU.

    Raises:
        UserError: If it cannot be used; the message lists those that are there.
    """
    name = name or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        torch.zeros(1, device=name).item()
    except Exception as error:  # PyTorch raises various ones
        gpus = [f'cuda:{index}' for index in range(torch.cuda.device_count())]
        raise UserError(
            f'the device {name!r} cannot be used. There are: {", ".join(["cpu", *gpus])}. PyTorch '
            f'says: {str(error).splitlines()[0]}'
        ) from error
    return torch.device(name)


def _build_from_scratch(config: Config) -> nn.Module:
    """Builds a model with random weights, the same ones each time."""
    with torch.random.fork_rng(devices=[]), _silent_log():
        torch.default_generator.manual_seed(0)
        model = revert_sync_batchnorm(MODELS.build(_for_prediction(config)))
        for module in model.modules():
            if 'Pretrained' in str(getattr(module, 'init_cfg', None)):
                module.init_cfg = None
        model.init_weights()
    return model


@contextmanager
def _silent_log() -> Iterator[None]:
    """Drops what MMEngine logs on each weight that it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _for_prediction(config: Config) -> dict[str, Any]:
    """Returns the model's config, of a classifier without Mixup and CutMix."""
    return dict(config.model, train_cfg=None) if _is_classifier(config) else config.model


def _is_classifier(config: Config) -> bool:
    return config.get('default_scope') == 'mmpretrain'


def _build_pipeline(config: Config) -> tuple[Callable, Compose]:
    """Builds the test pipeline without annotations: its first transform, and the rest."""
    dataset = next((leaf for _, leaf in leaf_datasets(config, 'test')), {})
    steps = [
        copy.deepcopy(step)
        for step in dataset.get('pipeline') or ()
        if 'Annotation' not in str(step['type'])
    ]
    if not steps or str(steps[0]['type']).split('.')[-1] != 'LoadImageFromFile':
        raise UserError(
            f'{config.filename} has no test_dataloader whose pipeline starts with '
            'LoadImageFromFile, which says how to read and resize images.'
        )
    options = {name: value for name, value in steps[0].items() if name != 'type'}
    if _is_classifier(config):
        return AnyLoader(**options), Compose(steps[1:])
    steps[0]['type'] = 'InferencerLoader'  # of both other hosts: a file or an array
    return TRANSFORMS.build(steps[0]), Compose(steps[1:])


def _legend(config: Config, state: Mapping[str, Any]) -> Legend:
    """Returns names and colours of the checkpoint, or of the test data where those do not fit."""
    meta = (state.get('meta') or {}).get('dataset_meta') or {}
    heads = dict(class_counts(config.model))
    if not meta.get('classes') or {*heads.values()} - {len(meta['classes'])}:
        key, dataset = next(leaf_datasets(config, 'test'))
        meta = DATASETS.build(dict(dataset, lazy_init=True)).metainfo  # reads no files
        named = len(meta.get('classes') or ())
        for head, count in heads.items():
            if count != named:
                raise UserError(
                    f'{head} is {count}, but {key} names {named} classes. Set '
                    'metainfo=dict(classes=(...)) in the config to all names, in their order.'
                )
    classes = tuple(map(str, meta['classes']))
    palette = meta.get('palette')
    if not isinstance(palette, list | tuple) or len(palette) < len(classes):
        palette = np.random.RandomState(42).randint(0, 256, (len(classes), 3)).tolist()
    return Legend(classes, tuple(tuple(color) for color in palette))
