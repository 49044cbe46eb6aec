"""Options of a TensorRT engine, checked without TensorRT."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ....errors import UserError, did_you_mean

if TYPE_CHECKING:
    from ...settings import DeploySettings

INT8_FP16 = 'int8_fp16'  # INT8, and the rest in half precision where TensorRT finds that faster
PRECISIONS = ('fp32', 'tf32', 'fp16', 'bf16', 'int8', INT8_FP16, 'fp8')
QUANTIZED = ('int8', 'fp8')  # files with QuantizeLinear
ON_DLA = ('fp16', 'int8', INT8_FP16)
HARDWARE = ('none', 'ampere_plus', 'same_compute_capability')
LEVELS = range(6)
WEIGHTS = FIXED, REFITTABLE, STRIPPED = 'fixed', 'refittable', 'stripped'


class ShapeRange(NamedTuple):
    """Least, usual and greatest shape of an input."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


Profile = Mapping[str, ShapeRange]


@dataclass(frozen=True)
class EngineOptions:
    """How to build an engine.

    Attributes:
        precision: One of :data:`PRECISIONS`; None for what the ONNX file has. INT8 and FP8 need a
            file with QuantizeLinear; FP16 one with half weights, except that TensorRT up to 10 can
            choose half layers of a single precision file itself, as it does for ``'int8_fp16'``
            with the layers that are not INT8. BF16 is chosen in no other way (TensorRT 10).
        strongly_typed: Whether every layer has the type that the file says; None for yes wherever
            TensorRT and the file allow it.
        workspace: Most bytes of a layer's scratch memory; None for all of the GPU's.
        optimization_level: 0 (a quick build) to 5 (a quick engine); None for TensorRT's default.
        hardware_compatibility: ``'none'`` for the GPU of the build alone, ``'ampere_plus'`` or
            ``'same_compute_capability'``.
        version_compatible: Whether later TensorRT of the same major version can load it.
        timing_cache: Whether to keep what was measured in ``<engine>.timing`` for the next build.
        weights: ``'fixed'``; ``'refittable'`` if those of another training may take their place;
            ``'stripped'`` for an engine without them, which gets those of the ONNX file later
            (TensorRT 10 and later); see :func:`~.refit.refit_engine`.
        dla_core: Number of the accelerator for deep learning (DLA) that computes what it can; None
            for the GPU alone. It has half precision and INT8, and shapes that do not change.
    """

    precision: str | None = None
    strongly_typed: bool | None = None
    workspace: int | None = None
    optimization_level: int | None = None
    hardware_compatibility: str = 'none'
    version_compatible: bool = False
    timing_cache: bool = True
    weights: str = FIXED
    dla_core: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ('precision', (None, *PRECISIONS)),
            ('weights', WEIGHTS),
            ('optimization_level', (None, *LEVELS)),
            ('hardware_compatibility', HARDWARE),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise UserError(
                    f'{name} is {value!r}, expected one of: '
                    f'{", ".join(map(str, filter(lambda x: x is not None, allowed)))}.'
                )
        if self.workspace is not None and self.workspace < 1:
            raise UserError(f'workspace is {self.workspace}, expected a number of bytes.')
        core = self.dla_core
        if core is not None and (type(core) is not int or core < 0):
            raise UserError(f'dla_core is {core!r}, expected the number of one, 0 or more.')


def read_options(settings: 'DeploySettings') -> tuple[EngineOptions, list[Profile]]:
    """Returns what a deploy config says about the engine."""
    common = settings.common
    precision = settings.precision
    if precision == 'fp32' and common.get('tf32'):
        precision = 'tf32'
    if precision == 'int8' and settings.rest == 'fp16':
        precision = INT8_FP16
    options = EngineOptions(
        precision,
        None,
        common.get('max_workspace_size') or None,  # MMDeploy's 0 means no limit
        common.get('builder_optimization_level'),
        common.get('hardware_compatibility') or 'none',
        bool(common.get('version_compatible')),
        weights=common.get('weights') or FIXED,
        dla_core=common.get('dla_core'),
    )
    if options.weights == STRIPPED:
        raise UserError(
            f'backend_config.common_config.weights is {STRIPPED!r}, but tools/deploy.py runs the '
            'engine that it builds. Strip one with tools/onnx2tensorrt.py --weights stripped.'
        )
    return options, [
        {'input': ShapeRange(each.min_shape, each.opt_shape, each.max_shape)}
        for each in settings.profiles
    ]


@dataclass
class OnnxGraph:
    """What matters of an ONNX file.

    Attributes:
        path: The file.
        inputs: Shape of each input, None for an axis of any size.
        nodes: Name and op of each node.
        opset: Version of the standard ops.
        precision: ``'int8'`` or ``'fp8'`` with QuantizeLinear, else ``'fp16'`` with half weights,
            or ``'fp32'``.
        half: Whether there are half weights.
    """

    path: Path
    inputs: dict[str, tuple[int | None, ...]]
    nodes: list[tuple[str, str]] = field(repr=False)
    opset: int
    precision: str
    half: bool


def read_graph(path: str | Path) -> OnnxGraph:
    """Reads an ONNX file; weights that lie in other files are looked for, but not read.

    Raises:
        UserError: If there is no such file, it cannot be read as ONNX, or weights are not where
            ONNX Runtime would look for them.
    """
    import onnx

    from ...external_data import external_files
    from ...graphs.graph import load_onnx

    path = Path(path)
    model = load_onnx(path, weights=False)
    external_files(model, path)
    weights = {tensor.name for tensor in model.graph.initializer}
    types = {tensor.data_type for tensor in model.graph.initializer}
    half = onnx.TensorProto.FLOAT16 in types
    quantized = any(node.op_type == 'QuantizeLinear' for node in model.graph.node)
    eight = 'fp8' if onnx.TensorProto.FLOAT8E4M3FN in types else 'int8'
    return OnnxGraph(
        path,
        {
            each.name: _shape(each.type.tensor_type.shape)
            for each in model.graph.input
            if each.name not in weights
        },
        [(node.name, node.op_type) for node in model.graph.node],
        next(each.version for each in model.opset_import if each.domain in ('', 'ai.onnx')),
        eight if quantized else 'fp16' if half else 'fp32',
        half,
    )


def _shape(shape: Any) -> tuple[int | None, ...]:
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in shape.dim)


def check_precision(options: EngineOptions, graph: OnnxGraph) -> str:
    """Returns the precision that the engine will have.

    Raises:
        UserError: If the file is of another precision.
    """
    asked = options.precision or graph.precision
    needed = 'int8' if asked == INT8_FP16 else asked
    if needed in QUANTIZED and graph.precision != needed:
        raise UserError(
            f'precision is {asked}, but {graph.path} has no QuantizeLinear of {needed}: export it '
            f'with backend_config.common_config.{needed}_mode=True.'
        )
    if asked != graph.precision and graph.precision != 'fp32' and asked != INT8_FP16:
        raise UserError(
            f'precision is {asked}, but {graph.path} is a graph of {graph.precision}: '
            'export it anew, or leave the precision out.'
        )
    return asked


def chosen_by_tensorrt(precision: str | None, half: bool) -> bool:
    """Whether TensorRT up to 10 chooses the layers of a precision itself: the file has none.

    Args:
        precision: That of the engine.
        half: Whether the file has half weights.
    """
    return precision in (INT8_FP16, 'bf16') or precision == 'fp16' and not half


def check_dla(options: EngineOptions, precision: str, profiles: Sequence[Profile]) -> None:
    """Refuses what a DLA does not have.

    Raises:
        UserError: If the precision is single, or a shape may change.
    """
    if options.dla_core is None:
        return
    if precision not in ON_DLA:
        raise UserError(
            f'dla_core is {options.dla_core}, but a DLA has no {precision}: take fp16 or int8_fp16.'
        )
    for profile in profiles:
        for name, shapes in profile.items():
            if len(set(map(tuple, shapes))) > 1:
                raise UserError(
                    f'dla_core is {options.dla_core}, but a DLA takes one shape of {name} alone: '
                    'set its minimum, optimum and maximum to the same.'
                )


def complete_profiles(profiles: Sequence[Profile], graph: OnnxGraph) -> list[dict[str, ShapeRange]]:
    """Checks the ranges of a graph's inputs and adds those that follow from others.

    An input of which the number of images alone may change, such as ``sizes``, takes that number
    from the first range of the profile.

    Raises:
        UserError: If an input is unknown, a range does not fit, or one is missing.
    """
    dynamic = [name for name, shape in graph.inputs.items() if None in shape]
    if dynamic and not profiles:
        raise UserError(
            f'{graph.path} takes {", ".join(dynamic)} of any size, so the engine needs the least, '
            'usual and greatest: set backend_config.model_inputs, or name them as in --min-shapes '
            'input:1x3x320x320 --opt-shapes input:1x3x800x1344 --max-shapes input:4x3x1344x1344.'
        )
    return [_complete(profile, graph) for profile in profiles]


def _complete(profile: Profile, graph: OnnxGraph) -> dict[str, ShapeRange]:
    for name, shapes in profile.items():
        if name not in graph.inputs:
            raise UserError(
                f'{graph.path} has no input {name!r}.'
                f'{did_you_mean(name, graph.inputs)} It has: {", ".join(graph.inputs)}'
            )
        _check_range(name, ShapeRange(*map(tuple, shapes)), graph.inputs[name])
    done = {name: ShapeRange(*map(tuple, shapes)) for name, shapes in profile.items()}
    for name, shape in graph.inputs.items():
        if name in done or None not in shape:
            continue
        if None in shape[1:] or not done:
            raise UserError(f'a profile has no range for {name}, which may be of any size.')
        first = next(iter(done.values()))
        done[name] = ShapeRange(*((part[0], *shape[1:]) for part in first))
    return done


def _check_range(name: str, shapes: ShapeRange, expected: tuple[int | None, ...]) -> None:
    text = 'x'.join('?' if side is None else str(side) for side in expected)
    for shape in shapes:
        if len(shape) != len(expected) or any(
            side < 1 or fixed not in (None, side) for side, fixed in zip(shape, expected)
        ):
            raise UserError(f'{name} is {text} in the graph, which {format_shape(shape)} is not.')
    if not all(a <= b <= c for a, b, c in zip(*shapes)):
        raise UserError(
            f'{name}: min {format_shape(shapes.min)}, opt {format_shape(shapes.opt)} '
            f'and max {format_shape(shapes.max)} must not shrink in any number.'
        )


def format_shape(shape: Sequence[int]) -> str:
    """``(1, 3, 480, 640) -> '1x3x480x640'``."""
    return 'x'.join(map(str, shape))


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``['input:1x3x480x640'] -> {'input': (1, 3, 480, 640)}``, comma-separated as well.

    Raises:
        UserError: If a text is not of this form.
    """
    shapes = {}
    for text in ','.join(texts).split(','):
        name, _, sides = text.rpartition(':')
        if not name or not all(side.isdecimal() for side in sides.split('x')):
            raise UserError(f'{text!r} is not a shape, expected NAME:1x3x480x640.')
        shapes[name] = tuple(map(int, sides.split('x')))
    return shapes


def tool_command(
    onnx_path: str | Path,
    engine_path: str | Path,
    *,
    options: EngineOptions,
    profiles: Sequence[Profile],
) -> str:
    """Returns the command line of ``tools/onnx2tensorrt.py`` that builds the engine."""
    words = ['python', 'tools/onnx2tensorrt.py', str(onnx_path), str(engine_path)]
    if options.precision:
        words += ['--precision', options.precision]
    if options.strongly_typed is not None:
        words.append('--strongly-typed' if options.strongly_typed else '--no-strongly-typed')
    if options.workspace is not None:
        words += ['--workspace', str(_mebibytes(options.workspace))]
    if options.optimization_level is not None:
        words += ['--optimization-level', str(options.optimization_level)]
    if options.hardware_compatibility != 'none':
        words += ['--hardware-compatibility', options.hardware_compatibility]
    if options.version_compatible:
        words.append('--version-compatible')
    if not options.timing_cache:
        words.append('--no-timing-cache')
    if options.weights != FIXED:
        words += ['--weights', options.weights]
    if options.dla_core is not None:
        words += ['--dla-core', str(options.dla_core)]
    for profile in profiles:
        for part in ShapeRange._fields:
            words += [f'--{part}-shapes', _shapes_text(profile, part)]
    return shlex.join(words)


def trtexec_command(
    onnx_path: str | Path,
    engine_path: str | Path,
    *,
    options: EngineOptions,
    profiles: Sequence[Profile],
    half: bool = False,
) -> str:
    """Returns a command line of TensorRT's own tool, 10 or 11, that builds the engine.

    Args:
        onnx_path: The ONNX file.
        engine_path: The file to write.
        options: With a precision that is not None.
        profiles: Complete ones.
        half: Whether the file has half weights.
    """
    words = [
        'trtexec',
        f'--onnx={onnx_path}',
        f'--saveEngine={engine_path}',
        '--skipInference',
        '--profilingVerbosity=detailed',
    ]
    if options.precision == 'fp32':
        words.append('--noTF32')
    if chosen_by_tensorrt(options.precision, half) or options.strongly_typed is False:
        words += [
            f'--{name}'
            for name in ('bf16', 'fp16', 'int8')
            if name in options.precision or name == 'fp16' and half
        ]
    else:
        words.append('--stronglyTyped')
    if options.workspace is not None:
        words.append(f'--memPoolSize=workspace:{_mebibytes(options.workspace)}')
    if options.optimization_level is not None:
        words.append(f'--builderOptimizationLevel={options.optimization_level}')
    if options.hardware_compatibility != 'none':
        names = dict(zip(HARDWARE[1:], ('ampere+', 'sameComputeCapability')))
        words.append(f'--hardwareCompatibilityLevel={names[options.hardware_compatibility]}')
    if options.version_compatible:
        words.append('--versionCompatible')
    if options.weights != FIXED:
        words.append('--refit' if options.weights == REFITTABLE else '--stripWeights')
    if options.dla_core is not None:
        words += [f'--useDLACore={options.dla_core}', '--allowGPUFallback']
    if options.timing_cache:
        words.append(f'--timingCacheFile={engine_path}.timing')
    for index, profile in enumerate(profiles):
        words += [f'--profile={index}'] if len(profiles) > 1 else []
        words += [f'--{part}Shapes={_shapes_text(profile, part)}' for part in ShapeRange._fields]
    return shlex.join(words)


def _shapes_text(profile: Profile, part: str) -> str:
    return ','.join(
        f'{name}:{format_shape(getattr(ShapeRange(*shapes), part))}'
        for name, shapes in profile.items()
    )


def _mebibytes(size: int) -> int:
    return max(1, size >> 20)
