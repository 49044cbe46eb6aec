"""Evaluation of a graph as a model of its host.

The graph gets the interface of a model, so everything that takes a model (evaluators, visualizers,
inferencers) takes the graph as well.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn
from torch.nn.functional import pad

from ...engine.parts import leaf_datasets
from ...engine.runner import evaluate
from ...errors import UserError
from ...runtime.sessions.base import SIZES, Session, image_input, max_batch, resizes
from ..export.support import is_classifier, is_segmentor
from .open import open_graph


class HostPreprocessor(nn.Module):
    """What a graph leaves of a model's data preprocessor to the host.

    Batches are padded to the size that the graph takes; a graph that takes uint8 images
    normalises them itself, and one that resizes gets them as they are.

    Args:
        preprocessor: That of the host's model.
        input_shape: Shape of the graph's input, ``(B, 3, H, W)`` or, for images,
            ``(B, H, W, 3)``; None where any size will do.
        pads: Whether a smaller image is padded, rather than refused.
        resizes: Whether the graph resizes images.

    Attributes:
        takes_images: Whether the graph takes uint8 images.
        resizes: As given.
        size: Height and width that the graph takes, None where any will do.
        network_size: Those of the network in it.
    """

    def __init__(
        self,
        preprocessor: nn.Module,
        input_shape: Sequence[int | None],
        pads: bool = True,
        resizes: bool = False,
    ) -> None:
        super().__init__()
        self.pads = pads
        self.resizes = resizes
        self.takes_images = input_shape[1] != 3
        self.preprocessor = preprocessor
        if self.takes_images:
            self.preprocessor = copy.deepcopy(preprocessor)
            self.preprocessor._channel_conversion = self.preprocessor.to_rgb = False
            self.preprocessor._enable_normalize = False
        if resizes:
            self.preprocessor.pad_size_divisor = 1
        self.size = tuple(input_shape[1:3] if self.takes_images else input_shape[2:])
        self.network_size = (None, None) if resizes else self.size

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Pads at the right and at the bottom.

        Raises:
            UserError: If an image is larger than the graph takes, or smaller and not to be padded.
        """
        data = self.preprocessor(data, training)
        height, width = data['inputs'].shape[2:]
        if self.resizes:
            self._require_size([sample.img_shape[:2] for sample in data['data_samples']])
        rows, columns = (
            wanted - side if wanted else 0 for wanted, side in zip(self.size, (height, width))
        )
        if min(rows, columns) < 0:
            raise UserError(
                f'the graph takes images of {self.size[0]} x {self.size[1]} (H x W); one '
                f'has {height} x {width} after the test pipeline. Resize to no more in the '
                'config, or export for any size.'
            )
        if rows + columns and not self.pads:
            raise UserError(
                f'the graph takes images of {self.size[0]} x {self.size[1]} (H x W), those of the '
                f'test pipeline have {height} x {width}, and a classifier would take padding for '
                f'part of the image. Export for {height} x {width} or for any size.'
            )
        data['inputs'] = pad(data['inputs'], (0, columns, 0, rows))
        size = tuple(data['inputs'].shape[2:])
        for sample in data['data_samples']:
            left, right, top, bottom = sample.metainfo.get('padding_size', (0, 0, 0, 0))
            sample.set_metainfo(
                dict(
                    batch_input_shape=size,
                    pad_shape=size,
                    padding_size=[left, right + columns, top, bottom + rows],
                )
            )
        return data

    def _require_size(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Refuses images that a graph of one size would stretch, as it does not know their own."""
        for size in sizes:
            if any(wanted not in (None, side) for wanted, side in zip(self.size, size)):
                raise UserError(
                    f'the graph resizes images of {self.size[0]} x {self.size[1]} (H x W); one has '
                    f'{size[0]} x {size[1]}. Export without input_shape for images of any size.'
                )

    def arrays(self, inputs: Tensor, sizes: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
        """The inputs of the graph by name.

        Args:
            inputs: What :meth:`forward` makes of a batch, ``(B, 3, H, W)``.
            sizes: Height and width of each image without padding.
        """
        if self.takes_images:
            inputs = inputs.permute(0, 2, 3, 1).to(torch.uint8)
        return dict(
            input=inputs.cpu().contiguous().numpy(),
            sizes=np.array(sizes, np.float32).reshape(-1, 2),
        )


class DeployedModel(BaseModel):
    """What deployed models share.

    Args:
        model: The model that the graph was made of; its network is not used.
        session: Runs the graph.
    """

    pads = True  # images that are smaller than the graph takes

    def __init__(self, model: nn.Module, session: Session) -> None:
        shape = image_input(session).shape
        super().__init__(
            HostPreprocessor(model.data_preprocessor, shape, self.pads, resizes(session))
        )
        self.session = session

    def forward(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement], mode: str = 'predict'
    ) -> list[BaseDataElement]:
        """Predicts on a batch; a graph knows no other mode than ``'predict'``."""
        if mode != 'predict':
            raise UserError(f'a deployed model can predict, but not {mode}.')
        if not self.data_preprocessor.resizes:
            return self.predict(inputs, list(data_samples))
        parts = of_one_size(inputs, data_samples)
        return [sample for part in parts for sample in self.predict(*part)]

    def infer(self, inputs: Tensor, sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Runs the graph on a batch, in parts where it takes fewer images.

        Args:
            inputs: What the data preprocessor made of images, ``(B, 3, H, W)``.
            sizes: Height and width of each without padding.

        Returns:
            The outputs by name.
        """
        values = self.data_preprocessor.arrays(inputs, sizes)
        step = image_input(self.session).shape[0] or min(
            len(inputs), max_batch(self.session) or len(inputs)
        )
        parts = []
        for start in range(0, len(inputs), step):
            part = {
                each.name: filled(values[each.name][start : start + step], step)
                for each in self.session.inputs
            }
            parts.append(self.session.run(part))
        return {
            name: torch.from_numpy(np.concatenate([part[name] for part in parts])[: len(inputs)])
            for name in parts[0]
        }


def of_one_size(
    inputs: Tensor, data_samples: Sequence[BaseDataElement]
) -> Iterator[tuple[Tensor, list[BaseDataElement]]]:
    """Splits a batch into parts whose images have one size, without what filled them up."""
    sizes = [tuple(sample.img_shape[:2]) for sample in data_samples]
    for (height, width), group in groupby(range(len(sizes)), sizes.__getitem__):
        part = slice((places := list(group))[0], places[-1] + 1)
        yield inputs[part, :, :height, :width], list(data_samples[part])


def note_sizes(data_samples: Sequence[BaseDataElement], outputs: dict[str, Tensor]) -> None:
    """Tells samples what size a graph that resizes gave their images; takes it out of the outputs.

    Args:
        data_samples: What is known of the images.
        outputs: Those of the graph, changed in place.
    """
    for sample, size in zip(data_samples, outputs.pop(SIZES, ())):
        height, width = map(int, size)
        rows, columns = sample.ori_shape[:2]
        sample.set_metainfo(
            dict(img_shape=(height, width), scale_factor=(width / columns, height / rows))
        )


def filled(values: np.ndarray, count: int) -> np.ndarray:
    """Repeats the last of fewer than ``count`` values: ``(b, ...) -> (count, ...)``."""
    return np.concatenate([values, *[values[-1:]] * (count - len(values))])


class DeployedDetector(DeployedModel):
    """A graph of boxes, and perhaps masks.

    Args:
        model: MMDetection's detector.
        session: Runs the graph.
    """

    def __init__(self, model: nn.Module, session: Session) -> None:
        super().__init__(model, session)
        self.mask_threshold = model.test_cfg.get('rcnn', {}).get('mask_thr_binary', 0.5)

    def predict(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> list[BaseDataElement]:
        """Adds ``pred_instances`` in pixels of the original images to the samples."""
        outputs = self.infer(inputs, [sample.img_shape[:2] for sample in data_samples])
        note_sizes(data_samples, outputs)
        for index, sample in enumerate(data_samples):
            found = slice(int(outputs['num_dets'][index, 0]))
            sample.pred_instances = self.instances(
                {
                    name: value[index, found]
                    for name, value in outputs.items()
                    if name != 'num_dets'
                },
                sample.metainfo,
            )
        return data_samples

    def instances(self, outputs: dict[str, Tensor], meta: dict[str, Any]) -> InstanceData:
        """Detections of one image in its own pixels."""
        boxes = outputs['dets'][:, :4] / outputs['dets'].new_tensor(meta['scale_factor']).repeat(2)
        instances = InstanceData(
            bboxes=boxes, scores=outputs['dets'][:, 4], labels=outputs['labels'].long()
        )
        if 'masks' in outputs:
            instances.masks = pasted(
                outputs['masks'], boxes, size=meta['ori_shape'][:2], threshold=self.mask_threshold
            )
        return instances


def pasted(masks: Tensor, boxes: Tensor, *, size: tuple[int, int], threshold: float) -> Tensor:
    """Masks of boxes in a whole image, as MMDetection pastes them.

    Args:
        masks: Probabilities, ``(N, 28, 28)``.
        boxes: ``(N, 4)``.
        size: Height and width of the image.
        threshold: Least probability of a pixel that belongs to the mask.

    Returns:
        ``(N, H, W)``, bool.
    """
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    whole = torch.zeros((len(masks), *size), dtype=torch.bool)
    for index in range(len(masks)):
        part, place = _do_paste_mask(
            masks[index][None, None], boxes[index][None], *size, skip_empty=True
        )
        whole[(index, *place)] = (part >= threshold)[0]
    return whole


class DeployedSegmentor(DeployedModel):
    """A graph of logits or of label maps.

    Args:
        model: MMSegmentation's segmentor.
        session: Runs the graph.
    """

    def __init__(self, model: nn.Module, session: Session) -> None:
        super().__init__(model, session)
        self.align_corners = model.align_corners
        self.decode_head = model.decode_head  # knows the threshold of a single class

    def predict(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> list[BaseDataElement]:
        """Adds ``pred_sem_seg`` in the size of the original images to the samples."""
        from mmseg.models.segmentors import BaseSegmentor
        from mmseg.models.utils import resize

        size = tuple(inputs.shape[2:])
        outputs = self.infer(inputs, [size] * len(inputs))
        note_sizes(data_samples, outputs)
        if self.data_preprocessor.resizes:
            size = data_samples[0].img_shape[:2]
        output = outputs['output']
        if output.dim() == 3:  # label maps: each class becomes a map of zeros and ones
            output = nn.functional.one_hot(output.long(), self.decode_head.num_classes)
            output = output.permute(0, 3, 1, 2).float()
        logits = resize(
            output, size, mode='bilinear', align_corners=self.align_corners, warning=False
        )
        return BaseSegmentor.postprocess_result(self, logits, data_samples)


class DeployedClassifier(DeployedModel):
    """A graph of probabilities."""

    pads = False

    def predict(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> list[BaseDataElement]:
        """Adds ``pred_score`` and ``pred_label`` to the samples."""
        scores = self.infer(inputs, [tuple(inputs.shape[2:])] * len(inputs))['output']
        for sample, score in zip(data_samples, scores.float(), strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax(dim=0, keepdim=True))
        return data_samples


def deployed(model: nn.Module, session: Session) -> DeployedModel:
    """Returns a graph as the model that it was made of."""
    if is_classifier(model):
        return DeployedClassifier(model, session).eval()
    kind = DeployedSegmentor if is_segmentor(model) else DeployedDetector
    return kind(model, session).eval()


class DeployHook(Hook):
    """Tests a graph instead of the model that it was made of.

    Args:
        graph: Runs the graph.
    """

    def __init__(self, graph: Session) -> None:
        self.graph = graph

    def before_test_epoch(self, runner: Any) -> None:
        """Puts the graph in the place of the network, before anything is predicted."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        runner.model = deployed(model, self.graph)


def evaluate_graph(
    config: Config,
    path: str | Path,
    *,
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    timeout: float | None = None,
) -> dict[str, float]:
    """Evaluates an exported file on the test data of a config; see :func:`~.runner.evaluate`.

    Args:
        config: Config of the model that was exported.
        path: The ONNX file or the engine.
        out: Pickle file to write the predictions to.
        show_dir: Folder for images of the predictions.
        timeout: Most seconds of a run of an ONNX file; an engine cannot be stopped.

    Raises:
        UserError: If the config, the data or the file cannot be used, or a run takes longer.
    """
    session = open_graph(path, timeout=timeout)
    if resizes(session):
        config = without_resizing(config)
    hook = DeployHook(session)
    return evaluate(config, None, out=out, show_dir=show_dir, hooks=[hook])


def without_resizing(config: Config) -> Config:
    """A copy of a config whose test data leave images in their size, for a graph that resizes."""
    config = copy.deepcopy(config)
    for _, dataset in leaf_datasets(config, 'test'):
        for step in dataset.get('pipeline') or ():
            if str(step['type']).split('.')[-1].removesuffix("'>") == 'Resize':
                for key in set(step) - {'type'}:
                    del step[key]
                step['scale_factor'] = 1.0  # noted, as later steps may ask for it
    return config
