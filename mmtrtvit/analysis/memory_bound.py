"""Which share of a network's run time goes into operators that are bound by memory.

EfficientViT's paper (arXiv 2305.07027, section 2.1) finds that reshaping, copying, element-wise
functions and normalisations take much of the time of a Vision Transformer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from ..errors import UserError
from .cost import NUMBERED, REST, stages_of

# By an operator's name or its last words. Softmax is taken for a normalisation.
KINDS = {
    'products': (
        *('convolution', 'conv2d', 'convolution_pointwise', 'linear_pointwise', 'linear'),
        *('mm', 'addmm', 'bmm', 'baddbmm', 'matmul', 'einsum', 'scaled_dot_product_attention'),
        *('for_cpu', 'efficient_attention', 'flash_attention', 'cudnn_attention'),
        *('conv2d_forward', 'conv_depthwise2d', 'convolution_relu', 'addmm_activation'),
    ),
    'copies': (
        *('copy', 'copy_', 'to', 'clone', 'contiguous', 'cat', 'stack', 'reshape', 'flatten'),
        *('index', 'index_select', 'gather', 'roll', 'pad', 'constant_pad_nd', 'fill_', 'repeat'),
        *('to_dense', 'to_mkldnn', 'linear_weight', 'convolution_weight'),
    ),
    'element-wise': (
        *('add', 'add_', 'sub', 'mul', 'mul_', 'div', 'div_', 'relu', 'relu_', 'gelu', 'silu'),
        *('silu_', 'hardswish', 'hardswish_', 'sigmoid', 'sigmoid_', 'clamp', 'clamp_min'),
        *('clamp_min_', 'maximum', 'minimum', 'exp', 'tanh', 'pow', 'neg', 'dropout'),
    ),
    'normalisation': (
        *('layer_norm', 'batch_norm', 'batch_norm_impl_index', 'group_norm', 'softmax'),
    ),
}
MEMORY_BOUND = 'copies', 'element-wise', 'normalisation'
OTHER = 'other'
# They move nothing: their time is that of what calls them, or of reshaping if nothing does.
VIEWS = {
    *('view', 'as_strided', 'expand', 't', 'transpose', 'permute', 'unflatten', 'select', 'chunk'),
    *('split', 'split_with_sizes', 'unbind', 'narrow', 'squeeze', 'unsqueeze', '_unsafe_view'),
    *('as_strided_', 'alias', 'detach', 'slice', 'view_as', '_reshape_alias'),
}
BLOCK = 'block of the network: '
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
PUBLISHED = (
    'published: 44.26% for Swin-T shrunk to 1.25 times its throughput, with 20% of its layers '
    'attention (arXiv 2305.07027, section 2.1)'
)


@dataclass(frozen=True)
class Times:
    """Milliseconds that a part of a network takes in a run, by kind of operator.

    Attributes:
        part: Path of the block.
        products: Convolutions, linear layers, products of feature maps.
        copies: Reshaping and copying.
        elementwise: Element-wise functions.
        normalisation: Norms and softmax.
        other: Everything else, as pooling.
    """

    part: str
    products: float
    copies: float
    elementwise: float
    normalisation: float
    other: float

    @property
    def total(self) -> float:
        """Milliseconds of all kinds."""
        return self.products + self.memory + self.other

    @property
    def memory(self) -> float:
        """Milliseconds of operators that are bound by memory."""
        return self.copies + self.elementwise + self.normalisation

    @property
    def share(self) -> float:
        """Which share of the time the memory-bound operators take."""
        return self.memory / self.total if self.total else 0.0


def memory_bound_times(
    model: nn.Module, run: Callable[[], object], *, rounds: int = 5, warmup: int = 2
) -> list[Times]:
    """Profiles a network by PyTorch's profiler, block by block.

    The time of an operator is its own, without that of operators which it calls, on the device
    that the network is on. The profiler adds a few microseconds to each, most visible for many
    small ones on a CPU.

    Args:
        model: The network, in eval mode, on a real device.
        run: Runs it once.
        rounds: Runs that are averaged.
        warmup: Runs before them.

    Returns:
        One entry for each block in their order, and the total.

    Raises:
        UserError: If the network is on the meta device.
    """
    device = next(model.parameters()).device
    if device.type == 'meta':
        raise UserError('run times need a network on a real device, not on the meta device')
    activities = [ProfilerActivity.CPU]
    if device.type == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    blocks = list(blocks_of(model))
    with ExitStack() as hooks, torch.inference_mode():
        for path in blocks:
            _mark(hooks, model.get_submodule(path), path)
        for _ in range(warmup):
            run()
        with profile(activities=activities, acc_events=True) as profiled:
            for _ in range(rounds):
                run()
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
    attribute = f'self_{"device" if device.type == "cuda" else "cpu"}_time_total'
    spent: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for event in profiled.events():
        if '::' in event.name:
            spent[_block_of(event)][_kind_of(event)] += getattr(event, attribute)
    parts = [_times(path, spent[path], rounds) for path in (*blocks, REST) if path in spent]
    return [*parts, _times('total', sum(spent.values(), Counter()), rounds)]


def blocks_of(model: nn.Module) -> Iterator[str]:
    """Yields paths of a network's blocks: members of its stages, and what is beside these."""
    for path in stages_of(model):
        yield from _members(model.get_submodule(path), path)


def _members(module: nn.Module, path: str) -> Iterator[str]:
    stage = path.split('.')[-1].isdecimal()
    if stage and type(module).forward is nn.Sequential.forward:
        yield from (f'{path}.{name}' for name, _ in module.named_children())
    elif stage and any(name in NUMBERED for name, _ in module.named_children()):
        for name, child in module.named_children():
            inner = child.named_children() if name in NUMBERED else ()
            yield from (f'{path}.{name}.{index}' for index, _ in inner)
            if name not in NUMBERED:
                yield f'{path}.{name}'
    else:
        yield path


def _mark(hooks: ExitStack, module: nn.Module, path: str) -> None:
    """Has the profiler record when a module runs."""
    ranges: list[record_function] = []

    def enter(module: nn.Module, args: tuple) -> None:
        ranges.append(record_function(f'{BLOCK}{path}'))
        ranges[-1].__enter__()

    def leave(module: nn.Module, args: tuple, out: Any) -> None:
        ranges.pop().__exit__(None, None, None)

    hooks.callback(module.register_forward_pre_hook(enter).remove)
    hooks.callback(module.register_forward_hook(leave).remove)


def _block_of(event: Any) -> str:
    while event is not None:
        if event.name.startswith(BLOCK):
            return event.name.removeprefix(BLOCK)
        event = event.cpu_parent
    return REST


def _kind_of(event: Any) -> str:
    view = False
    while event is not None and '::' in event.name:
        name = event.name.split('::')[-1]
        view = view or name in VIEWS
        known = None if name in VIEWS else _known(name)
        if known:
            return known
        event = event.cpu_parent
    return 'copies' if view else OTHER


def _known(name: str) -> str | None:
    """Kind of an operator, by the most of its last words that are known."""
    words = name.strip('_').split('_') if name not in KIND_OF else [name]
    ends = ('_'.join(words[start:]) for start in range(len(words)))
    return next((KIND_OF[end] for end in ends if end in KIND_OF), None)


def _times(part: str, spent: Counter[str], rounds: int) -> Times:
    kinds = ('products', *MEMORY_BOUND, OTHER)
    return Times(part, *(spent[kind] / 1000 / rounds for kind in kinds))


def as_dicts(times: Sequence[Times]) -> list[dict[str, str | float]]:
    """The parts and the total as plain data, in milliseconds."""
    return [
        dict(
            part=each.part,
            total=round(each.total, 4),
            products=round(each.products, 4),
            copies=round(each.copies, 4),
            elementwise=round(each.elementwise, 4),
            normalisation=round(each.normalisation, 4),
            other=round(each.other, 4),
            memory_bound_share=round(each.share, 4),
        )
        for each in times
    ]


def rows(times: Sequence[Times]) -> Iterator[list[str]]:
    """Yields a table: its head, a line for each block, and the total."""
    yield ['block', 'ms', 'products', 'copies', 'element-wise', 'norms', 'other', 'memory-bound']
    for each in times:
        parts = each.total, each.products, each.copies, each.elementwise, each.normalisation
        numbers = (f'{value:.2f}' for value in (*parts, each.other))
        yield [each.part, *numbers, f'{100 * each.share:.1f}%']
