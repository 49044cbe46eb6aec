"""INT8 for OpenVINO by NNCF, OpenVINO's own quantizer."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ....errors import UserError, did_you_mean
from ...graphs.nodes import module_of
from ...settings import MINMAX, Calibration

QUANTIZABLE = 'Convolution', 'GroupConvolution', 'MatMul'
SILENT = 'NNCF_CI'  # set, NNCF sends nothing to its makers


def quantize_model(
    model: Any,
    source: Path,
    *,
    batches: Iterable[Mapping[str, np.ndarray]],
    calibration: Calibration,
) -> tuple[Any, str]:
    """Quantizes backbone, neck and heads; what belongs to no module stays in single precision.

    Args:
        model: OpenVINO's model of an ONNX file.
        source: That file, for messages.
        batches: Inputs that show the ranges.
        calibration: The layers to leave out by parts of their names.

    Returns:
        The quantized model, and a sentence about it.

    Raises:
        UserError: If :func:`require_nncf` fails, or no layer has a name to leave out.
    """
    nncf = require_nncf(calibration)
    names = [op.get_friendly_name() for op in model.get_ops()]
    for part in calibration.exclude:
        if not any(part in name for name in names):
            pieces = {piece for name in names for piece in name.split('/')}
            raise UserError(
                f'calib_config.exclude: {part!r} is in the name of no layer of {source}.'
                f'{did_you_mean(part, pieces)}'
            )
    left_out = [
        name
        for name in names
        if not module_of(name) or any(part in name for part in calibration.exclude)
    ]
    inputs = [{each.any_name: batch[each.any_name] for each in model.inputs} for batch in batches]
    with _logging_kept():
        quantized = _by_nncf(
            nncf,
            model,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=left_out, validate=False),
        )
    ops = [op for op in quantized.get_ops() if op.get_type_name() in QUANTIZABLE]
    done = sum(
        all(each.get_node().get_type_name() == 'FakeQuantize' for each in op.input_values()[:1])
        for op in ops
    )
    return quantized, (
        f'{done} of {len(ops)} convolutions and products are INT8; {len(inputs)} images gave the '
        'ranges.'
    )


def _by_nncf(nncf: ModuleType, model: Any, inputs: Any, **options: Any) -> Any:
    """Quantizes with ranges of maps as they are, or around zero where NNCF needs that.

    A concatenation gives all its maps one range. NNCF takes the maps that go into a product of
    matrices, too, around zero and others as they are, and then finds no range for both.
    """
    try:
        return nncf.quantize(model, inputs, preset=nncf.QuantizationPreset.MIXED, **options)
    except nncf.errors.InternalError as error:
        if 'unified scale group' not in str(error):
            raise
    return nncf.quantize(model, inputs, preset=nncf.QuantizationPreset.PERFORMANCE, **options)


def require_nncf(calibration: Calibration) -> ModuleType:
    """Imports NNCF, which then sends nothing to its makers.

    Raises:
        UserError: If it is not installed, or does not calibrate in that way.
    """
    os.environ.setdefault(SILENT, '1')
    try:
        with _logging_kept():
            import nncf

            nncf.set_log_level(logging.ERROR)
    except ImportError as error:
        raise UserError(
            f'INT8 for OpenVINO needs NNCF: pip install "mmtrtvit[openvino]" ({error}).'
        ) from error
    if calibration.method != MINMAX or calibration.exclude_worst:
        raise UserError(
            f'calib_config: NNCF, which quantizes for OpenVINO, has method={MINMAX!r} and '
            'exclude_worst=0 only. Name layers to leave out in calib_config.exclude.'
        )
    return nncf


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Keeps the class of loggers and the levels of others' handlers, which NNCF changes."""
    logger_class = logging.getLoggerClass()
    levels = [(handler, handler.level) for handler in logging.root.handlers]
    try:
        yield
    finally:
        logging.setLoggerClass(logger_class)
        for handler, level in levels:
            handler.setLevel(level)
