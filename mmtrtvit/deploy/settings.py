"""Settings of a deployment: what :mod:`.config` reads out of a config, typed."""

from dataclasses import dataclass, field
from typing import Any

PRECISIONS = ('fp32', 'fp16', 'bf16', 'int8', 'fp8')
# Exporters of PyTorch and the opset that each writes.
TORCHSCRIPT, DYNAMO = 'torchscript', 'dynamo'
EXPORTERS = {TORCHSCRIPT: 17, DYNAMO: 18}
# Ways to write NMS and RoIAlign in ONNX: the op of that name, or what does without it.
NMS = GREEDY, MATRIX = 'greedy', 'matrix'
POOLING = ROI_ALIGN, GRID = 'roi_align', 'grid'
# What a graph does to images before the network: nothing, normalise and pad, or resize as well.
RESIZE = 'resize'
PREPROCESSING = False, True, RESIZE
LEAST_AGREEMENT = 0.7
METHODS = MINMAX, ENTROPY, PERCENTILE = 'minmax', 'entropy', 'percentile'


@dataclass
class InputShapes:
    """Shapes of the images that an engine takes: least, usual and greatest.

    They are ``(B, 3, H, W)``, or ``(B, H, W, 3)`` of a graph that takes uint8 images.
    """

    min_shape: tuple[int, ...]
    opt_shape: tuple[int, ...]
    max_shape: tuple[int, ...]


@dataclass
class Calibration:
    """How ranges of INT8 and FP8 are found.

    Attributes:
        num_images: Images of the training data to look at.
        method: ``'minmax'``, ``'entropy'`` or ``'percentile'``, as in ONNX Runtime.
        exclude: Parts of the names of layers that stay as they are.
        exclude_worst: How many layers stay as they are besides: those that are harmed most.
        max_drop: The most points that a metric may drop by; as many more layers stay as they are
            as that takes. None for no search.
        num_held_out: On how many other images of the training data that is measured.
    """

    num_images: int = 100
    method: str = MINMAX
    exclude: tuple[str, ...] = ()
    exclude_worst: int = 0
    max_drop: float | None = None
    num_held_out: int = 200


@dataclass
class DeploySettings:
    """What to make of a model.

    Attributes:
        backend: One of :data:`~.backends.registry.BACKENDS`.
        save_file: Name of the ONNX file.
        input_shape: Height and width of a graph of fixed size, or None.
        dynamic_batch: Whether the graph takes any number of images.
        dynamic_size: Whether the graph takes any height and width.
        exporter: ``'torchscript'`` or ``'dynamo'``.
        slim: Whether to simplify the graph.
        nms: ``'greedy'`` for the op NonMaxSuppression, or ``'matrix'`` for a graph without it.
        pooling: ``'roi_align'`` for the op RoiAlign, or ``'grid'`` for a graph without it.
        preprocessing: Whether the graph takes uint8 images ``(B, H, W, 3)``, BGR.
        resizing: Whether it takes them as they are and resizes them, too; then ``input_shape`` and
            ``profiles`` are of the images as they are.
        with_argmax: Whether a segmentor returns label maps.
        precision: One of :data:`PRECISIONS`. The ONNX file may have another one, see
            :meth:`~.backends.backend.Backend.onnx_precision`.
        rest: What a backend may compute in what an INT8 file has in single precision, one of
            :attr:`~.backends.backend.Backend.rests` or ``'fp32'``.
        calibration: For INT8 and FP8.
        least_agreement: Share of what the model clearly finds that a file of lower precision must
            find as well, see :func:`~.verify.agreement.agreement`.
        profiles: For TensorRT.
        common: What else ``backend_config.common_config`` says.
    """

    backend: str = 'onnxruntime'
    save_file: str = 'end2end.onnx'
    input_shape: tuple[int, int] | None = None
    dynamic_batch: bool = True
    dynamic_size: bool = True
    exporter: str = TORCHSCRIPT
    slim: bool = True
    nms: str = GREEDY
    pooling: str = ROI_ALIGN
    preprocessing: bool = False
    resizing: bool = False
    with_argmax: bool = False
    precision: str = 'fp32'
    rest: str = 'fp32'
    calibration: Calibration = field(default_factory=Calibration)
    least_agreement: float = LEAST_AGREEMENT
    profiles: list[InputShapes] = field(default_factory=list)
    common: dict[str, Any] = field(default_factory=dict)
