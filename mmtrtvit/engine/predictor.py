"""A trained model for images from anywhere: predictions as objects, as numbers and drawn."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, VISUALIZERS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import UserError
from ..runtime.drawing import NAMED_SHARE
from ..weights.checkpoints import checkpoint_file, read_weights, state_dict_of
from ..weights.matching import compare_weights, require_match
from .config import read_config
from .hosts import import_host, without_onedl_notice
from .mistakes import explaining
from .parts import class_counts, leaf_datasets

VISUALIZERS_BY_SCOPE = {
    'mmdet': dict(type='DetLocalVisualizer'),
    'mmseg': dict(type='SegLocalVisualizer', alpha=0.5),
}


def load(
    config: str | Path | Config,
    checkpoint: str | Path,
    *,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> 'Predictor':
    """Loads a detector or segmentor for prediction.

    Args:
        config: Config file of MMDetection or MMSegmentation, or what was read from one.
        checkpoint: Weights of exactly this model, or the work dir of a run, for its newest ones.
        device: ``'cpu'``, ``'cuda:0'``, ...; default: the first GPU, or the CPU without one.
        options: Values by dotted key, as ``--cfg-options`` gives them, for a config file.

    Raises:
        UserError: If the config, the checkpoint or the device cannot be used.
    """
    if not isinstance(config, Config):
        config = read_config(config, options)
    scope = config.get('default_scope')
    if scope not in VISUALIZERS_BY_SCOPE:
        raise UserError(
            f'{config.filename} has default_scope={scope!r}; predictions can be drawn for '
            f'{" and ".join(VISUALIZERS_BY_SCOPE)}.'
        )
    device = _usable_device(device)
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
        model = revert_sync_batchnorm(MODELS.build(config.model))
        weights = state_dict_of(state)
        require_match(
            compare_weights(model.state_dict(), weights), str(checkpoint), meta=state.get('meta')
        )
        model.load_state_dict(weights, strict=False)  # BatchNorm's counters may be missing
        loader, transforms = _build_pipeline(config)
        visualizer = _build_visualizer(config, state)
    return Predictor(model.to(device).eval(), loader, transforms=transforms, visualizer=visualizer)


class Predictor:
    """A model with what comes before and after it; :func:`load` makes one.

    Args:
        model: A detector of MMDetection or a segmentor of MMSegmentation, in evaluation mode.
        loader: The first transform of its test pipeline, for a file or an array.
        transforms: The other ones.
        visualizer: Draws its predictions; ``dataset_meta`` holds the classes and the palette.

    Attributes:
        classes: Names by label.
    """

    def __init__(
        self, model: nn.Module, loader: Callable, *, transforms: Callable, visualizer: Any
    ) -> None:
        self.model = model
        self.visualizer = visualizer
        self.classes: tuple[str, ...] = visualizer.dataset_meta['classes']
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
            ``DetDataSample`` with ``pred_instances``, or ``SegDataSample`` with ``pred_sem_seg``,
            one per image, on the CPU.

        Raises:
            UserError: If a file cannot be read, or an image is too small for the model.
        """
        arrays = (image if isinstance(image, np.ndarray) else self.read(image) for image in images)
        inputs = ((None, self.prepare(array)) for array in arrays)
        return [
            sample
            for batch in batches(inputs, batch_size)
            for sample in self.predict([data for _, data in batch])
        ]

    def read(self, path: str | Path) -> np.ndarray:
        """Reads an image as the pipeline of the config does: ``(H, W, 3)``, BGR.

        Raises:
            UserError: If that is not possible.
        """
        try:
            return self._loader(str(path))['img']
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

    @torch.no_grad()
    def predict(self, inputs: Sequence[dict[str, Any]]) -> list[BaseDataElement]:
        """Predicts on a batch of what :meth:`prepare` returns."""
        samples = self.model.test_step(pseudo_collate(inputs))
        for sample in samples:
            sample.pop('seg_logits', None)  # one map per class in the size of the image
        return [sample.cpu() for sample in samples]

    def describe(self, sample: BaseDataElement, score_thr: float = 0.3) -> dict[str, Any]:
        """Returns a prediction as numbers, strings, lists and dicts.

        Args:
            sample: The prediction.
            score_thr: Detections up to this score are left out.

        Returns:
            ``width`` and ``height`` of the image in pixels, and either ``detections``, the best
            first, or ``classes`` of the label map, the largest first.
        """
        height, width = sample.ori_shape
        if 'pred_sem_seg' in sample:
            classes = [
                dict(label=label, name=self.classes[label], share=round(share, 6))
                for label, share in _shares(label_map(sample))
            ]
            return dict(width=width, height=height, classes=classes)
        instances = sample.pred_instances
        instances = instances[instances.scores > score_thr].numpy()
        detections = [
            dict(
                label=int(label),
                name=self.classes[label],
                score=round(float(score), 4),
                bbox=[round(float(side), 2) for side in bbox],
            )
            for label, score, bbox in zip(instances.labels, instances.scores, instances.bboxes)
        ]
        if 'masks' in instances:
            for detection, mask in zip(detections, _run_lengths(instances.masks)):
                detection['mask'] = mask
        detections.sort(key=lambda detection: -detection['score'])
        return dict(width=width, height=height, detections=detections)

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
        options = dict(pred_score_thr=score_thr)
        if 'pred_sem_seg' in sample:
            options = dict(with_labels=False)  # mmseg takes seconds to place them
        rgb = np.ascontiguousarray(image[..., ::-1])
        with warnings.catch_warnings(), _fixed_random_numbers():  # mmdet varies colours of masks
            warnings.simplefilter('ignore')  # about what touches the border
            self.visualizer.add_datasample('', rgb, sample, draw_gt=False, **options)
            if 'pred_sem_seg' in sample:
                self._draw_names(label_map(sample))
            return np.ascontiguousarray(self.visualizer.get_image()[..., ::-1])

    def _draw_names(self, labels: np.ndarray) -> None:
        """Writes the name of each class where it is farthest from the others."""
        for label, share in _shares(labels):
            if share < NAMED_SHARE:
                break
            mask = np.pad(labels == label, 1).astype(np.uint8)
            distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[1:-1, 1:-1]
            y, x = np.unravel_index(distance.argmax(), distance.shape)
            self.visualizer.draw_texts(
                self.classes[label],
                np.array([x, y]),
                colors='w',
                font_sizes=max(min(labels.shape) / 40, 8),
                horizontal_alignments='center',
                vertical_alignments='center',
                bboxes=dict(facecolor='black', alpha=0.6, pad=1, edgecolor='none'),
            )


def batches(
    inputs: Iterable[tuple[Any, dict[str, Any]]], size: int
) -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """Groups consecutive inputs of one shape, with what they come with, to batches of a size."""
    batch: list = []
    for item in inputs:
        if batch and item[1]['inputs'].shape != batch[0][1]['inputs'].shape:
            yield batch
            batch = []
        batch.append(item)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def label_map(sample: BaseDataElement) -> np.ndarray:
    """Returns the label of each pixel, ``(H, W)``, in the smallest type that PNG has for it."""
    labels = sample.pred_sem_seg.data[0].numpy()
    return labels.astype(np.uint8 if labels.max() < 256 else np.uint16)


def _shares(labels: np.ndarray) -> list[tuple[int, float]]:
    """Returns the labels of a map ``(H, W)`` with their shares of it, the largest first."""
    counts = np.bincount(labels.ravel())
    order = np.argsort(-counts, kind='stable')
    return [(int(label), float(counts[label] / labels.size)) for label in order if counts[label]]


def _run_lengths(masks: np.ndarray) -> list[dict[str, Any]]:
    """Returns masks ``(N, H, W)`` as COCO's compressed run lengths."""
    from mmdet.structures.mask import encode_mask_results

    return [
        dict(size=[int(side) for side in code['size']], counts=code['counts'].decode())
        for code in encode_mask_results(masks)
    ]


@contextmanager
def _fixed_random_numbers() -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


def _usable_device(name: str | None) -> torch.device:
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


def _build_pipeline(config: Config) -> tuple[Callable, Callable]:
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
    steps[0]['type'] = 'InferencerLoader'  # of both hosts: a file or an array
    return TRANSFORMS.build(steps[0]), Compose(steps[1:])


def _build_visualizer(config: Config, state: Mapping[str, Any]) -> Any:
    settings = {
        **VISUALIZERS_BY_SCOPE[config.default_scope],
        **(config.get('visualizer') or {}),
        'name': 'predictor',
        'vis_backends': None,
    }
    with VISUALIZERS.switch_scope_and_registry(config.default_scope) as registry:
        kind = registry.get(settings.pop('type'))
    visualizer = kind(**settings)  # build() would give a second predictor the first one's
    visualizer.dataset_meta = _dataset_meta(config, state)
    return visualizer


def _dataset_meta(config: Config, state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns classes and palette of the checkpoint, or of the test data where those do not fit."""
    meta = (state.get('meta') or {}).get('dataset_meta') or {}
    heads = dict(class_counts(config.model))
    if not meta.get('classes') or {*heads.values()} - {len(meta['classes'])}:
        key, dataset = next(leaf_datasets(config, 'test'))
        meta = DATASETS.build(dict(dataset, lazy_init=True)).metainfo  # reads no files
        for head, count in heads.items():
            if count != len(meta['classes']):
                raise UserError(
                    f'{head} is {count}, but {key} names {len(meta["classes"])} classes. Set '
                    'metainfo=dict(classes=(...)) in the config to all names, in their order.'
                )
    classes = tuple(map(str, meta['classes']))
    palette = meta.get('palette')
    if not isinstance(palette, list | tuple) or len(palette) < len(classes):
        palette = np.random.RandomState(42).randint(0, 256, (len(classes), 3)).tolist()
    return dict(classes=classes, palette=[tuple(color) for color in palette])
