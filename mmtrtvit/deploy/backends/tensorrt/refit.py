"""Refitting of TensorRT engines: the weights of an ONNX file into an engine that is there already.

A refit takes seconds where a build takes minutes: after another training of the same model, or for
an engine that was built without weights to be handed around with the ONNX file.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ....errors import UserError
from ....files import write_whole
from ....runtime.sessions.tensorrt_package import (
    create,
    host_code_allowed,
    import_tensorrt,
    make_logger,
)


@dataclass
class RefitReport:
    """What was written.

    Attributes:
        path: The engine.
        tensorrt: Version of TensorRT.
        megabytes: Size of the engine.
        seconds: Time of the refit.
    """

    path: Path
    tensorrt: str
    megabytes: float
    seconds: float


def refit_engine(engine_path: str | Path, onnx_path: str | Path, target: str | Path) -> RefitReport:
    """Writes a copy of an engine with the weights of an ONNX file; it appears when it is whole.

    Args:
        engine_path: An engine that was built with ``weights='refittable'`` or ``'stripped'``. It is
            code: take none that you do not trust.
        onnx_path: A file of the same graph; for ``'stripped'`` the one that it was built from.
        target: The file to write; may be ``engine_path``.

    Raises:
        NoTensorRT: If there is no TensorRT or no GPU here.
        UserError: If a file is missing, the engine keeps its weights, or the file does not fit it.
    """
    for path in (engine_path, onnx_path):
        if not Path(path).is_file():
            raise UserError(f'there is no file {path}.')
    trt = import_tensorrt()
    version = f'TensorRT {trt.__version__}'
    if not hasattr(trt, 'OnnxParserRefitter'):
        raise UserError(f'{version} cannot refit from an ONNX file: take TensorRT 10 or later.')
    start = time.perf_counter()
    logger = make_logger(trt)
    trt.init_libnvinfer_plugins(logger, '')
    runtime = create(trt.Runtime, logger)
    runtime.engine_host_code_allowed = host_code_allowed()
    engine = runtime.deserialize_cuda_engine(Path(engine_path).read_bytes())
    if engine is None:
        raise UserError(f'{version} cannot load {engine_path}:\n{_said(logger)}')
    if not engine.refittable:
        raise UserError(
            f'{engine_path} keeps the weights that it was built with. Build it with --weights '
            'refittable or stripped.'
        )
    refitter = trt.Refitter(engine, logger)
    reader = trt.OnnxParserRefitter(refitter, logger)
    if not (reader.refit_from_file(str(onnx_path)) and refitter.refit_cuda_engine()):
        raise UserError(
            f'{version} cannot fill {engine_path} with the weights of {onnx_path}:\n'
            f'{_said(logger)}\n'
            'Both have to come from the same config, export settings and precision.'
        )
    whole = memoryview(_with_weights(trt, engine))
    write_whole(target, whole, sync=True)
    return RefitReport(
        Path(target), trt.__version__, whole.nbytes / 1e6, time.perf_counter() - start
    )


def _with_weights(trt: ModuleType, engine: Any) -> Any:
    """An engine as bytes; one that was stripped leaves its weights out unless it is told to."""
    config = engine.create_serialization_config()
    config.clear_flag(trt.SerializationFlag.EXCLUDE_WEIGHTS)
    return engine.serialize_with_config(config)


def _said(logger: Any) -> str:
    lines = [f'  {error}' for error in logger.errors[-3:]]
    return '\n'.join(lines) or '  (TensorRT gave no reason)'
