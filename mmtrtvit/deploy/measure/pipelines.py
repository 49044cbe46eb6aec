"""Models with what comes before and after them: from an image file to what is in the image."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...analysis.stages import PREPARE, READ, RESULTS, Stopwatch, Way
from ...engine.predictor import Predictor
from ...engine.results import result_of
from ...images import read_image
from ...runtime import KINDS, Model, read_work_dir
from ...runtime.sessions.base import Session
from .timm_classifier import TimmClassifier, timm_preparation

NETWORK = 'network'
STAGES = READ, PREPARE, NETWORK, RESULTS


class Watch(Stopwatch):
    """The stopwatch of a network, which notes the shape of its images.

    Attributes:
        shape: Of the images of the last run.
    """

    shape: tuple[int, ...] = ()

    def note(self, images: Any) -> None:
        """Notes the shape of images."""
        self.shape = tuple(images.shape)

    def on(self, module: nn.Module) -> None:
        """Watches a network in PyTorch, whose first argument, or ``inputs``, are the images."""
        module.register_forward_pre_hook(
            lambda _, args, kwargs: self.note(args[0] if args else kwargs['inputs']),
            with_kwargs=True,
        )
        self.watch(module, NETWORK)


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
        self._watch.note(inputs['input'])
        self._watch.begin()
        outputs = self._session.run(inputs)
        self._watch.end(NETWORK)
        return outputs


class Pipeline(Way):
    """The way of an image through a model of any kind.

    Args:
        backend: What runs the network.
        read: As for :class:`~mmtrtvit.analysis.stages.Way`.
        predict: The same.
        watch: What watches the network in it.
    """

    def __init__(
        self,
        backend: str,
        read: Callable[[str], np.ndarray],
        predict: Callable[[np.ndarray], Any],
        watch: Watch,
    ) -> None:
        super().__init__(read, predict, watch)
        self.backend, self._watch = backend, watch

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the last image as the network got it."""
        shape = self._watch.shape
        height, width = shape[1:3] if shape[3] == 3 else shape[2:]
        return height, width


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
