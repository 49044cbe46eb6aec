"""Inference with a config and a checkpoint; results are written as the runtime writes them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ..errors import UserError
from ..runtime.batches import or_bad, predict_batches
from ..runtime.results import BadImage, Result
from ..runtime.run import RunResult, run
from ..weights.checkpoints import checkpoint_file
from .predictor import Predictor, input_shape, load
from .results import result_of


class RuntimeModel:
    """A :class:`Predictor` as :func:`mmtrtvit.runtime.run.run` takes it.

    Args:
        predictor: Reads images and predicts on them.
        info: What predictions.json says about it.

    Attributes:
        legend: Names and colours of the classes.
        info: As given.
    """

    def __init__(self, predictor: Predictor, info: dict[str, str]) -> None:
        self.legend = predictor.legend
        self.info = info
        self.read = predictor.read
        self._predictor = predictor

    def predict(
        self, images: Iterable[np.ndarray], batch_size: int = 1
    ) -> Iterator[Result | BadImage]:
        """Predicts on one image after the other; see :meth:`mmtrtvit.runtime.Model.predict`."""
        prepared = (or_bad(self._predictor.prepare, image) for image in images)
        return predict_batches(prepared, batch_size, shape_of=input_shape, infer=self._infer)

    def _infer(self, batch: Sequence[dict[str, Any]]) -> list[Result] | list[BadImage]:
        try:
            return [result_of(sample) for sample in self._predictor.predict(batch)]
        except UserError as error:  # such as images that are too small for the backbone
            return [BadImage(str(error))] * len(batch)


def infer(
    config: Config,
    checkpoint: str | Path,
    *,
    inputs: Iterable[str | Path],
    out_dir: str | Path,
    device: str | None = None,
    precision: str | None = None,
    **options: Any,
) -> RunResult:
    """Predicts on images, videos, webcams and streams, and writes images and predictions.

    Args:
        config: The config, as :func:`~.config.read_config` returns it.
        checkpoint: As for :func:`load`.
        inputs: As for :func:`~mmtrtvit.runtime.run.run`, like the rest.
        out_dir: Folder to write ``images/``, ``predictions.json`` and ``label_maps/`` to.
        device: As for :func:`load`.
        precision: As for :func:`load`.
        options: Of :func:`~mmtrtvit.runtime.run.run`.

    Raises:
        UserError: If the config, the checkpoint or the device cannot be used, or no input can.
    """
    checkpoint = checkpoint_file(checkpoint)
    info = dict(config=str(config.filename), checkpoint=str(checkpoint))
    model = RuntimeModel(load(config, checkpoint, device, precision=precision), info)
    return run(model, inputs, out_dir=out_dir, **options)
