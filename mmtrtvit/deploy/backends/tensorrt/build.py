"""Building of TensorRT engines from ONNX files, by one code path for TensorRT 8.6 to 11.

The package is asked for its features; its version number does not decide. Networks are strongly
typed where they can be: a layer then has the type that the file gives it. Elsewhere types are hints
for TensorRT, and layers that must not become half are held at single precision.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ....errors import UserError
from ....files import write_whole
from ....runtime.sessions.tensorrt_package import NoTensorRT, create, import_tensorrt, make_logger
from ...graphs.nodes import module_of
from ...graphs.tensorrt_limits import MAX_TOP_K
from ...settings import EXPORTERS, GRID, MATRIX, TORCHSCRIPT
from ..backend import Unavailable
from .options import (
    FIXED,
    INT8_FP16,
    REFITTABLE,
    EngineOptions,
    OnnxGraph,
    Profile,
    ShapeRange,
    check_dla,
    check_precision,
    chosen_by_tensorrt,
    complete_profiles,
    read_graph,
    tool_command,
    trtexec_command,
)
from .rules import OPSETS

# Settings of the export that do without an op.
WITHOUT = {
    'NonMaxSuppression': f'onnx_config.nms={MATRIX!r}',
    'NonZero': f'onnx_config.nms={MATRIX!r}',
    'RoiAlign': f'onnx_config.pooling={GRID!r}',
}


class EngineUnavailable(Unavailable):
    """No engine can be built here; the message ends with how to build it where there is a GPU."""


@dataclass
class EngineReport:
    """What was built.

    Attributes:
        path: The engine.
        tensorrt: Version of TensorRT.
        precision: One of :data:`~.options.PRECISIONS`.
        strongly_typed: Whether every layer has the type that the file says.
        profiles: Ranges of the inputs' shapes.
        megabytes: Size of the engine.
        seconds: Time of the build.
        notes: What the user should know.
    """

    path: Path
    tensorrt: str
    precision: str
    strongly_typed: bool
    profiles: list[dict[str, ShapeRange]]
    megabytes: float
    seconds: float
    notes: list[str] = field(default_factory=list)


def build_engine(
    onnx_path: str | Path,
    engine_path: str | Path,
    *,
    options: EngineOptions | None = None,
    profiles: Sequence[Profile] = (),
    progress: Callable[[str], None] | None = None,
    verbose: bool = False,
) -> EngineReport:
    """Builds an engine; the file appears when it is whole.

    Args:
        onnx_path: The ONNX file.
        engine_path: The file to write.
        options: How to build.
        profiles: Ranges of the inputs' shapes, for a graph of any size.
        progress: Gets the name of each phase as it begins, where TensorRT tells it (10 and later).
        verbose: Whether to print all that TensorRT says.

    Raises:
        EngineUnavailable: If there is no TensorRT or no GPU here.
        UserError: If the file, an option or a profile cannot be used, or TensorRT fails.
    """
    options = options or EngineOptions()
    graph = read_graph(onnx_path)
    precision = check_precision(options, graph)
    profiles = complete_profiles(profiles, graph)
    check_dla(options, precision, profiles)
    try:
        trt = import_tensorrt()
        logger = make_logger(trt, verbose)
        trt.init_libnvinfer_plugins(logger, '')
        builder = create(trt.Builder, logger)
    except NoTensorRT as error:
        raise EngineUnavailable(
            unavailable(
                str(error), graph, engine_path=engine_path, options=options, profiles=profiles
            )
        ) from error
    start = time.perf_counter()
    notes: list[str] = []
    if precision == INT8_FP16 and not hasattr(trt.BuilderFlag, 'FP16'):
        precision = 'int8'
        notes.append(
            f'TensorRT {trt.__version__} chooses no types itself: what the file has in single '
            'precision beside INT8 stays so.'
        )
    strongly_typed = _is_strongly_typed(trt, options, precision, graph)
    network = builder.create_network(_network_flags(trt, strongly_typed))
    parser = _parse(trt, network, logger, graph, options)
    config = builder.create_builder_config()
    _set_options(trt, config, options, parser)
    _set_weights(trt, config, options)
    _set_dla(trt, builder, config, options)
    _set_precision(trt, config, precision, graph, strongly_typed)
    halves = [each for each in ('FP16', 'BF16') if hasattr(trt.BuilderFlag, each)]
    if not strongly_typed and any(
        config.flags & 1 << int(getattr(trt.BuilderFlag, each)) for each in halves
    ):
        _hold_single_precision(trt, config, network, graph, notes)
    for profile in profiles:
        _add_profile(builder, config, profile)
    cache = Path(f'{engine_path}.timing')
    if options.timing_cache:
        _load_timing_cache(config, cache, notes)
    with _Interruptible() as interruption:
        if hasattr(trt, 'IProgressMonitor'):
            monitor = _make_monitor(trt, interruption, progress)
            config.progress_monitor = monitor
        engine = builder.build_serialized_network(network, config)
    if interruption.wanted:
        raise KeyboardInterrupt
    if engine is None:
        raise UserError(_failure(graph, logger.errors))
    write_whole(engine_path, memoryview(engine), sync=True)
    if options.timing_cache:
        write_whole(cache, memoryview(config.get_timing_cache().serialize()))
    return EngineReport(
        Path(engine_path),
        trt.__version__,
        precision,
        strongly_typed,
        profiles,
        engine.nbytes / 1e6,
        time.perf_counter() - start,
        notes,
    )


def unavailable(
    reason: str,
    graph: OnnxGraph,
    *,
    engine_path: str | Path,
    options: EngineOptions,
    profiles: Sequence[Profile],
) -> str:
    """Returns why there is no engine and which commands build it where there is a GPU."""
    known = EngineOptions(**{**vars(options), 'precision': check_precision(options, graph)})
    tool = tool_command(graph.path, engine_path, options=options, profiles=profiles)
    trtexec = trtexec_command(
        graph.path, engine_path, options=known, profiles=profiles, half=graph.half
    )
    return (
        f'there is no engine: {reason}\n'
        'On the machine that has TensorRT and the GPU, one of these builds it:\n'
        f'  {tool}\n'
        f'  {trtexec}'
    )


def _is_strongly_typed(
    trt: ModuleType, options: EngineOptions, precision: str, graph: OnnxGraph
) -> bool:
    """Decides, or says why what was asked for cannot be."""
    possible = hasattr(trt.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED')
    optional = hasattr(trt.BuilderFlag, 'FP16')
    chosen = chosen_by_tensorrt(precision, graph.half)
    version = f'TensorRT {trt.__version__}'
    if options.strongly_typed and not possible:
        raise UserError(f'{version} has no strongly typed networks: leave strongly_typed out.')
    if options.strongly_typed is False and not optional:
        raise UserError(f'{version} has strongly typed networks alone: leave strongly_typed out.')
    if precision == INT8_FP16 and options.strongly_typed:
        raise UserError(
            f'precision is {INT8_FP16}, but a strongly typed network has only the half layers that '
            'the file has: leave strongly_typed out, or take precision int8.'
        )
    if precision == 'fp8' and (options.strongly_typed is False or not possible):
        raise UserError(
            f'precision is fp8, which only strongly typed networks compute, from TensorRT 10 on: '
            f'take {"int8" if not possible else "no --no-strongly-typed"}.'
        )
    if precision == 'bf16' and optional and not hasattr(trt.BuilderFlag, 'BF16'):
        raise UserError(f'{version} has no BF16: take fp16.')
    if chosen and (options.strongly_typed or not optional):
        raise UserError(
            f'precision is {precision}, but {graph.path} has single precision, and a strongly '
            f'typed network of {version} is what the file is: export it with '
            'backend_config.common_config.fp16_mode=True.'
        )
    if options.strongly_typed is None:
        return possible and not chosen
    return options.strongly_typed


def _network_flags(trt: ModuleType, strongly_typed: bool) -> int:
    """TensorRT 8 asks for explicit batches, 10 takes them for granted, 11 has no such flag."""
    names = ['EXPLICIT_BATCH', 'STRONGLY_TYPED'] if strongly_typed else ['EXPLICIT_BATCH']
    kinds = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(kinds, name)) for name in names if hasattr(kinds, name))


def _parse(
    trt: ModuleType, network: Any, logger: Any, graph: OnnxGraph, options: EngineOptions
) -> Any:
    """Fills the network and returns the parser, which owns the weights."""
    parser = trt.OnnxParser(network, logger)
    if options.version_compatible:
        parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    if parser.parse_from_file(str(graph.path)):
        return parser
    lines = [f'TensorRT {trt.__version__} cannot read {graph.path}:']
    for error in map(parser.get_error, range(parser.num_errors)):
        index = error.node()
        name, op = graph.nodes[index] if 0 <= index < len(graph.nodes) else ('', '')
        if hasattr(error, 'node_name'):
            name, op = error.node_name() or name, error.node_operator() or op
        lines.append(f'  {f"{op} {name}: " if op else ""}{error.desc()}')
        lines += [f'    {hint}' for hint in _hints(op, graph)]
    raise UserError('\n'.join(lines))


def _hints(op: str, graph: OnnxGraph) -> list[str]:
    """What to do about an op that the parser refuses."""
    hints = []
    if op in WITHOUT:
        hints.append(f'TensorRT has {op} from 8.5 on. To do without it: {WITHOUT[op]}.')
    if op == 'TopK':
        hints.append(
            f'K may be {MAX_TOP_K} at most: lower nms_pre or max_per_img in model.test_cfg.'
        )
    written = EXPORTERS[TORCHSCRIPT]
    if graph.opset > written:
        hints.append(
            f'The file has opset {graph.opset}. TensorRT 8.6 reads up to {OPSETS[8, 6]}, 10 up to '
            f'{OPSETS[10, 0]}: onnx_config.exporter={TORCHSCRIPT!r} writes {written}.'
        )
    return hints


def _set_options(trt: ModuleType, config: Any, options: EngineOptions, parser: Any) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    level = getattr(trt.HardwareCompatibilityLevel, options.hardware_compatibility.upper(), None)
    if level is None:
        known = ', '.join(trt.HardwareCompatibilityLevel.__members__).lower()
        raise UserError(
            f'hardware_compatibility is {options.hardware_compatibility!r}, which '
            f'TensorRT {trt.__version__} does not have; it has: {known}.'
        )
    config.hardware_compatibility_level = level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        config.plugins_to_serialize = parser.get_used_vc_plugin_libraries()


def _set_weights(trt: ModuleType, config: Any, options: EngineOptions) -> None:
    if options.weights == FIXED:
        return
    names = ['REFIT'] if options.weights == REFITTABLE else ['STRIP_PLAN', 'REFIT_IDENTICAL']
    if missing := [name for name in names if not hasattr(trt.BuilderFlag, name)]:
        raise UserError(
            f'weights is {options.weights!r}, which TensorRT {trt.__version__} cannot do: it has '
            f'no {" and no ".join(missing)}.'
        )
    for name in names:
        config.set_flag(getattr(trt.BuilderFlag, name))


def _set_dla(trt: ModuleType, builder: Any, config: Any, options: EngineOptions) -> None:
    """Lets the accelerator compute what it can, and the GPU the rest."""
    if options.dla_core is None:
        return
    if options.dla_core >= builder.num_DLA_cores:
        raise UserError(
            f'dla_core is {options.dla_core}, but there are {builder.num_DLA_cores} DLA cores '
            'here: leave it out.'
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = options.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _set_precision(
    trt: ModuleType, config: Any, precision: str, graph: OnnxGraph, strongly_typed: bool
) -> None:
    if precision == 'fp32':
        config.clear_flag(trt.BuilderFlag.TF32)
    else:
        config.set_flag(trt.BuilderFlag.TF32)
    if strongly_typed:
        return
    if precision == 'bf16':
        config.set_flag(trt.BuilderFlag.BF16)
    if 'fp16' in precision or graph.half:
        config.set_flag(trt.BuilderFlag.FP16)
    if 'int8' in precision:
        config.set_flag(trt.BuilderFlag.INT8)


def _hold_single_precision(
    trt: ModuleType, config: Any, network: Any, graph: OnnxGraph, notes: list[str]
) -> None:
    """Holds post-processing at single precision: its coordinates are too large for half.

    In a file with half weights these are the layers that it has in single precision. In others they
    are the layers of no module of the model, but for QuantizeLinear and DequantizeLinear, which go
    with the layers that they feed.
    """
    if not graph.half and not any(module_of(name) for name, _ in graph.nodes):
        notes.append(
            'The names of the nodes do not show which belong to post-processing, so TensorRT '
            'may compute boxes in half precision. Export with half weights to avoid this.'
        )
        return
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    kinds = trt.LayerType
    fixed = (kinds.CONSTANT, kinds.QUANTIZE, kinds.DEQUANTIZE, getattr(kinds, 'CAST', None))
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.type in fixed or not graph.half and module_of(layer.name):
            continue
        outputs = [layer.get_output(index).dtype for index in range(layer.num_outputs)]
        if outputs[0] == trt.DataType.FLOAT:
            layer.precision = trt.DataType.FLOAT
            for index, dtype in enumerate(outputs):
                if dtype == trt.DataType.FLOAT:
                    layer.set_output_type(index, dtype)
    notes.append('Post-processing is held at single precision.')


def _add_profile(builder: Any, config: Any, profile: Profile) -> None:
    ranges = builder.create_optimization_profile()
    for name, shapes in profile.items():
        ranges.set_shape(name, *shapes)
    if config.add_optimization_profile(ranges) < 0:
        raise UserError(f'TensorRT refuses the profile {profile}.')


def _load_timing_cache(config: Any, path: Path, notes: list[str]) -> None:
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b'')
    if not (cache and config.set_timing_cache(cache, False)):
        notes.append(f'{path} is of another GPU or TensorRT and was not used.')
        config.set_timing_cache(config.create_timing_cache(b''), False)


class _Interruptible:
    """Notes Ctrl-C instead of raising: what a callback of TensorRT's raises is lost there."""

    def __init__(self) -> None:
        self.wanted = False
        self.in_main_thread = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> '_Interruptible':
        if self.in_main_thread:  # no other may set it
            self.handler = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        if self.in_main_thread:
            signal.signal(signal.SIGINT, self.handler)

    def _note(self, *args: Any) -> None:
        self.wanted = True


def _make_monitor(
    trt: Any, interruption: _Interruptible, progress: Callable[[str], None] | None
) -> Any:

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if progress:
                progress(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return not interruption.wanted

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


# Words of TensorRT's errors, and what they mean; the first that is found counts.
ADVICE = {
    'no runners': 'This TensorRT has nothing that computes the layer it names; TensorRT for RTX '
    'lacks some that TensorRT has.',
    'any implementation': 'This TensorRT found nothing that computes the layer it names. Where it '
    'says that workspace was short, allow more (backend_config.common_config.max_workspace_size); '
    'otherwise export with another precision.',
    'emory': 'Out of memory: set a smaller workspace (backend_config.common_config.'
    'max_workspace_size) or a smaller greatest shape.',
}


def _failure(graph: OnnxGraph, errors: list[str]) -> str:
    lines = [f'  {error}' for error in errors[-5:]] or ['  (TensorRT gave no reason)']
    said = '\n'.join(errors)
    words = next((words for words in ADVICE if words in said), '')
    if words:
        lines.append(ADVICE[words])
    if words in ('no runners', 'any implementation'):
        lines += [f'To do without {op}: {WITHOUT[op]}.' for op in WITHOUT if op in said]
    return '\n'.join([f'TensorRT could not build an engine of {graph.path}:', *lines])
