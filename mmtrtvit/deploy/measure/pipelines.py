"""Models with what comes before and after them: from an image file to what is in the image."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...analysis.timing import clock_of
from ...engine.predictor import Predictor
from ...engine.results import result_of
from ...images import read_image
from ...runtime import KINDS, Model, read_work_dir
from ...runtime.sessions.base import Session
from .timm_classifier import TimmClassifier, timm_preparation

STAGES = 'read', 'prepare', 'network', 'results'


class Watch:
    """Notes when a network begins and ends, and the shape of its images.

    Args:
        device: Where PyTorch computes it; sessions return when they have finished.

    Attributes:
        clock: Returns seconds.
        begun: When the network began.
        ended: When it had finished.
        shape: Of the images.
    """

    def __init__(self, device: str | torch.device = 'cpu') -> None:
        self.clock = clock_of(device)
        self.begun = self.ended = 0.0
        self.shape: tuple[int, ...] = ()

    def begin(self, images: Any) -> None:
        """Notes that the network begins."""
        self.shape = tuple(images.shape)
        self.begun = self.clock()

    def end(self) -> None:
        """Notes that the network has ended."""
        self.ended = self.clock()

    def on(self, module: nn.Module) -> None:
        """Watches a module of PyTorch, whose first argument, or ``inputs``, are the images."""
        module.register_forward_pre_hook(
            lambda _, args, kwargs: self.begin(args[0] if args else kwargs['inputs']),
            with_kwargs=True,
        )
        module.register_forward_hook(lambda *_: self.end())


class WatchedSession:
    """A session that is watched.

    Args:
        session: What runs.
        watch: What notes it.
    """

    def __init__(self, session: Session, watch: Watch) -> None:
        self.backend, self.profiles = session.backend, session.profiles
        self.inputs, self.outputs = session.inputs, session.outputs
        self._session, self._watch = session, watch

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the session once."""
        self._watch.begin(inputs['input'])
        outputs = self._session.run(inputs)
        self._watch.end()
        return outputs


class Pipeline:
    """The whole way of an image through a model.

    Args:
        backend: What runs the network.
        read: From a file to its pixels, ``(H, W, 3)``, BGR.
        predict: From the pixels to the result.
        watch: What watches the network in it.
    """

    def __init__(
        self,
        backend: str,
        read: Callable[[str], np.ndarray],
        predict: Callable[[np.ndarray], Any],
        watch: Watch,
    ) -> None:
        self.backend = backend
        self._read, self._predict, self._watch = read, predict, watch

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the last image as the network got it."""
        shape = self._watch.shape
        height, width = shape[1:3] if shape[3] == 3 else shape[2:]
        return height, width

    def run(self, path: str | Path) -> dict[str, float]:
        """Goes the way once, and returns the milliseconds of each of :data:`STAGES`."""
        clock = self._watch.clock
        start = clock()
        pixels = self._read(str(path))
        read = clock()
        self._predict(pixels)
        end = clock()
        moments = start, read, self._watch.begun, self._watch.ended, end
        return {
            stage: (after - before) * 1000
            for stage, before, after in zip(STAGES, moments, moments[1:])
        }


def open_model(work_dir: str | Path, session: Session) -> Model:
    """The runtime's model around a session."""
    return KINDS[read_work_dir(work_dir).task](work_dir, session=session)


def of_runtime(work_dir: str | Path, session: Session) -> Pipeline:
    """The runtime's way: the transforms of ``pipeline.json``, a session, a result.

    Args:
        work_dir: Folder that ``tools/deploy.py`` wrote.
        session: What runs the graph.
    """
    watch = Watch()
    model = open_model(work_dir, WatchedSession(session, watch))
    return Pipeline(session.backend, model.read, model, watch)


def of_predictor(predictor: Predictor) -> Pipeline:
    """The way of weights in PyTorch: transforms of the config, the host's model, a result."""
    watch = Watch(next(predictor.model.parameters()).device)
    watch.on(predictor.model)

    def predict(pixels: np.ndarray) -> Any:
        (sample,) = predictor.predict([predictor.prepare(pixels)])
        return result_of(sample)

    return Pipeline('pytorch', predictor.read, predict, watch)


def of_timm(classifier: TimmClassifier, device: str) -> Pipeline:
    """The way of timm: its transforms for evaluation, the classifier, probabilities."""
    watch, prepare = Watch(device), timm_preparation(classifier)
    model = classifier.eval().to(device)
    watch.on(model)

    @torch.no_grad()
    def predict(pixels: np.ndarray) -> np.ndarray:
        return model(prepare(pixels).to(device))[0].cpu().numpy()

    return Pipeline('pytorch', read_image, predict, watch)
