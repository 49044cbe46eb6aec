"""Evaluating a checkpoint and keeping what it finds, beside the truth."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement
from pycocotools import mask as coco_mask

from ..engine.results import result_of
from ..engine.runner import evaluate
from ..errors import UserError
from ..runtime.legend import Legend
from ..runtime.results import Classification, LabelMap
from .evaluation import (
    CLASSES,
    LABEL_MAPS,
    OBJECTS,
    Evaluation,
    Objects,
    Sample,
    as_png,
    digest_of,
    read_evaluation,
    write_evaluation,
)

TASKS = {'mmdet': OBJECTS, 'mmseg': LABEL_MAPS, 'mmpretrain': CLASSES}


def evaluate_samples(config: Config, checkpoint: Path, folder: Path) -> Evaluation:
    """Evaluates a checkpoint as tools/test.py does, and keeps the predictions.

    The evaluation of the same weights with the same config is read from ``folder``, if it is there.

    Args:
        config: The config, as :func:`~mmtrtvit.engine.read_config` returns it.
        checkpoint: The weights.
        folder: Gets ``evaluation.json`` and the log.

    Raises:
        UserError: If the config, the data or the checkpoint cannot be used.
    """
    scope = config.get('default_scope')
    if scope not in TASKS:
        raise UserError(
            f'{config.filename} has default_scope={scope!r}; a report is about detection, '
            f'segmentation or classification: {", ".join(TASKS)}.'
        )
    if not config.get('test_dataloader') and config.get('val_dataloader'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config[f'test_{part}'] = config.get(f'val_{part}')
    if not config.get('test_dataloader'):
        raise UserError(
            f'{config.filename} has no data to evaluate on: it needs val_dataloader and '
            'val_evaluator, or test_dataloader and test_evaluator.'
        )
    parts = {
        key: config.get(key)
        for key in ('model', 'test_dataloader', 'test_evaluator', 'default_scope')
    }
    digest = digest_of(checkpoint.read_bytes(), Config(parts).pretty_text.encode())
    kept = read_evaluation(folder / 'evaluation.json', digest)
    if kept is not None:
        kept.checkpoint = str(checkpoint)
        return kept
    config.work_dir = str(folder)
    config.experiment_name = f'report_{time.time_ns()}'  # unlike that of a training before
    hook = _KeepHook(TASKS[scope])
    metrics = evaluate(config, checkpoint, hooks=[hook])
    evaluation = Evaluation(
        task=hook.task,
        checkpoint=str(checkpoint),
        legend=hook.legend,
        metrics={name: float(value) for name, value in metrics.items()},
        samples=hook.samples,
        masks=hook.masks,
        ignored_label=hook.ignored_label,
        input_size=next((size for size, _ in hook.inputs.most_common(1)), None),
    )
    write_evaluation(evaluation, folder / 'evaluation.json', digest)
    return evaluation


class _KeepHook(Hook):
    """Keeps the predictions of a test and the truth.

    Args:
        task: Which kind of truth and prediction.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.samples: list[Sample] = []
        self.legend = Legend()
        self.masks = False
        self.ignored_label = 255
        self.inputs: Counter[tuple[int, int]] = Counter()
        self._ids: list[Any] = []

    def after_test_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Keeps the predictions of a batch."""
        for output in outputs or ():
            height, width = map(int, output.ori_shape[:2])
            truth, found = self._read(output)
            path = output.metainfo.get('img_path') or f'image {len(self.samples) + 1}'
            self.samples.append(Sample(str(path), (height, width), truth, found))
            self._ids.append(output.metainfo.get('img_id'))
            size = output.metainfo.get('batch_input_shape', output.metainfo.get('img_shape'))
            if size:
                self.inputs[int(size[0]), int(size[1])] += 1

    def _read(self, output: BaseDataElement) -> tuple[Any, Any]:
        result = result_of(output)
        if isinstance(result, Classification):
            labels = output.gt_label.tolist() if 'gt_label' in output else []
            if len(labels) != 1:
                raise UserError(
                    'a report needs images of one class each, with their class; '
                    f'{output.metainfo.get("img_path")} has {len(labels)}.'
                )
            return labels[0], result.scores.tolist()
        if isinstance(result, LabelMap):
            truth = output.gt_sem_seg.data[0].cpu().numpy()
            kind = np.uint8 if truth.max() < 256 else np.uint16
            return as_png(truth.astype(kind)), as_png(result.labels)
        masks = []
        if result.has_masks:
            columns = np.asfortranarray(result.masks.transpose(1, 2, 0), np.uint8)
            masks = [code['counts'].decode() for code in coco_mask.encode(columns)]
        return Objects(), Objects(
            result.boxes.tolist(), result.labels.tolist(), result.scores.tolist(), masks
        )

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Takes the truth of objects from the metric, and the names of the classes."""
        meta = runner.test_dataloader.dataset.metainfo
        palette = meta.get('palette')
        names = tuple(map(str, meta.get('classes') or ()))
        palette = palette if isinstance(palette, list | tuple) else ()
        if len(palette) < len(names):
            palette = ()
        self.legend = Legend(
            names, tuple((int(red), int(green), int(blue)) for red, green, blue in palette)
        )
        for metric in runner.test_evaluator.metrics:
            self.ignored_label = getattr(metric, 'ignore_index', self.ignored_label)
        if self.task != OBJECTS:
            return
        coco = next(
            (each for each in runner.test_evaluator.metrics if getattr(each, '_coco_api', None)),
            None,
        )
        if coco is None:
            raise UserError(
                'a report on a detector needs CocoMetric, which tells the truth: set '
                "test_evaluator=dict(type='CocoMetric')."
            )
        self.masks = 'segm' in coco.metrics
        self._take_truth(coco)

    def _take_truth(self, metric: Any) -> None:
        api = metric._coco_api
        labels = {category: label for label, category in enumerate(metric.cat_ids)}
        places = {key: index for index, key in enumerate(self._ids)}
        for key in metric.img_ids:
            image = api.imgs[key]
            size = int(image['height']), int(image['width'])
            if key not in places:  # the data set leaves it out, the metric does not
                places[key] = len(self.samples)
                self.samples.append(Sample(image['file_name'], size, Objects(), Objects()))
            sample = self.samples[places[key]]
            for entry in api.imgToAnns[key]:
                if entry['category_id'] not in labels:
                    continue
                left, top, width, height = map(float, entry['bbox'])
                sample.truth.boxes.append([left, top, left + width, top + height])
                sample.truth.labels.append(labels[entry['category_id']])
                sample.truth.ignored.append(bool(entry.get('iscrowd')))
                sample.truth.areas.append(float(entry.get('area', width * height)))
                if self.masks:
                    sample.truth.masks.append(_counts(api.annToRLE(entry)))
        if not self.masks:  # the model may find them all the same
            for sample in self.samples:
                sample.found.masks = []


def _counts(code: dict[str, Any]) -> str:
    counts = code['counts']
    return counts.decode() if isinstance(counts, bytes) else counts
