"""OpenVINO's models from ONNX files of single precision."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.sessions.openvino import (
    INT8_BF16,
    PRECISION,
    check_precision,
    core_for,
    read_model,
)
from ...settings import Calibration
from .post_processing import keep_post_processing
from .quantize import quantize_model, require_nncf


def build_model(
    source: Path,
    target: Path,
    *,
    precision: str,
    rest: str = 'fp32',
    calibration: Calibration,
    batches: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    progress: Callable[[str], None] = lambda phase: None,
) -> list[str]:
    """Writes an ONNX file of single precision as an ``.xml`` and a ``.bin`` file.

    Args:
        source: The ONNX file.
        target: The ``.xml`` file to write.
        precision: ``'fp32'``; ``'fp16'`` for weights of half precision, which take half the space
            and are computed with in single; ``'bf16'``, which the session computes in; or
            ``'int8'``.
        rest: What the session computes in what an INT8 model has in single precision, on a
            processor that has it: ``'fp32'`` or ``'bf16'``.
        calibration: For INT8.
        batches: Gives inputs that show the ranges of INT8.
        progress: Gets the name of each phase as it begins.

    Returns:
        What the user should know.

    Raises:
        UserError: If :func:`require` fails, or no layer has a name to leave out.
    """
    require(precision, calibration)
    core = core_for(source)
    progress('reading the ONNX file')
    model = read_model(core, source)
    notes = []
    if precision == 'int8':
        progress('quantizing with NNCF')
        model, note = quantize_model(model, source, batches=batches(), calibration=calibration)
        notes.append(note)
    mixed = (precision, rest) == ('int8', 'bf16')
    model.set_rt_info(INT8_BF16 if mixed else precision, PRECISION)
    progress('writing')
    write_model(core, model, target, half_weights=precision == 'fp16')
    return notes


def require(precision: str, calibration: Calibration) -> None:
    """Refuses what cannot be made here.

    Raises:
        UserError: If OpenVINO or, for INT8, NNCF is not installed, this processor does not compute
            in the precision, or NNCF does not calibrate in that way.
    """
    core = core_for('this deploy config')
    check_precision(core, 'CPU', precision, 'this deploy config')
    if precision == 'int8':
        require_nncf(calibration)


def write_model(core: Any, model: Any, target: Path, *, half_weights: bool) -> None:
    """Writes ``.xml`` and ``.bin``; the ``.xml`` appears last, when both are whole."""
    from openvino import save_model

    target.parent.mkdir(parents=True, exist_ok=True)
    weights = target.with_suffix('.bin')
    with tempfile.TemporaryDirectory(dir=target.parent, prefix='.openvino-') as folder:
        part = Path(folder, target.name)
        save_model(model, part, compress_to_fp16=False)
        keep_post_processing(part)
        if half_weights:
            whole, part = part, part.with_stem('half')
            save_model(core.read_model(whole), part, compress_to_fp16=True)
        target.unlink(missing_ok=True)  # it does not fit the new weights
        os.replace(part.with_suffix('.bin'), weights)
        os.replace(part, target)
