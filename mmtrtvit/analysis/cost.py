"""Cost of a network: parameters, multiply-adds by kind, memory traffic and peak, stage by stage."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..models.efficientvit import WindowAttention

aten = torch.ops.aten
KINDS = {
    aten.convolution: 'convolution',
    aten._convolution: 'convolution',
    aten.mm: 'linear',
    aten.addmm: 'linear',
}  # all others that flop_counter knows are products of two feature maps: attention
# The attention of CPUs, which PyTorch's counter lets pass as nothing (2.14).
CPU_ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu
NUMBERED = 'stages', 'layers', 'blocks'  # containers of stages
REST = 'between the stages'


@dataclass(frozen=True)
class Cost:
    """What a part of a network needs for a batch.

    Attributes:
        part: Path of the module.
        parameters: Number of them.
        convolution: Multiply-adds of convolutions.
        linear: Of linear layers.
        attention: Of products of two feature maps, as in attention.
        padding: How many of all these are spent on what fills up EfficientViT's windows.
        activations: Numbers that convolutions, linear layers and products give.
        bytes: What all operators read and write if nothing is kept in caches.
    """

    part: str
    parameters: int = 0
    convolution: int = 0
    linear: int = 0
    attention: int = 0
    padding: int = 0
    activations: int = 0
    bytes: int = 0

    @property
    def macs(self) -> int:
        """Multiply-adds of all kinds."""
        return self.convolution + self.linear + self.attention

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: operations, two for each multiply-add, per byte."""
        return 2 * self.macs / self.bytes if self.bytes else 0.0


@dataclass(frozen=True)
class Costs:
    """The parts of a network and their sum.

    Attributes:
        parts: One for each stage, in their order.
        total: All of them.
        peak: Most bytes of feature maps at any time, in the order of the run, without parameters
            and without what kernels need for themselves.
    """

    parts: tuple[Cost, ...]
    total: Cost
    peak: int


def cost_of(model: nn.Module, run: Callable[[], object], inputs: Sequence[Tensor] = ()) -> Costs:
    """Counts what a run of a network needs.

    The network may be on the meta device, where nothing is computed. Operators count by the
    formulas of ``torch.utils.flop_counter``; normalisations, activations and sums have no
    multiply-adds there.

    Args:
        model: The network, in eval mode.
        run: Runs it once.
        inputs: What it is run on, for the peak of memory.
    """
    paths = stages_of(model)
    counter = _Counter(inputs, [*model.parameters(), *model.buffers()])
    with ExitStack() as hooks, torch.no_grad():
        for path in paths:
            for module in model.get_submodule(path).modules():  # a list of blocks is not called
                _inside(hooks, module, counter.stages, path)
        for module in model.modules():
            if isinstance(module, WindowAttention):
                _inside(hooks, module, counter.unused, _unused_share)
        with counter:
            run()
    parameters = Counter({path: _size(model.get_submodule(path)) for path in paths})
    parameters[REST] = _size(model) - parameters.total()
    parts = [Cost(path, parameters[path], **counter.counts[path]) for path in [*paths, REST]]
    used = tuple(part for part in parts if part.parameters or part.macs or part.bytes)
    return Costs(used, _sum(used), counter.peak)


def stages_of(model: nn.Module, prefix: str = '') -> list[str]:
    """Paths of a network's parts: its children, those of its backbone, and single stages."""
    paths = []
    for name, child in model.named_children():
        path = f'{prefix}{name}'
        if name in ('backbone', 'roi_head'):
            paths += stages_of(child, f'{path}.')
        elif name in NUMBERED:
            paths += [f'{path}.{index}' for index, _ in child.named_children()]
        else:
            paths.append(path)
    return paths


class _Counter(TorchDispatchMode):
    """Counts every operator for the stage that runs it.

    Args:
        inputs: Tensors that are there before the run.
        weights: Tensors that are no feature maps.
    """

    def __init__(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.stages: list[str] = []
        self.unused: list[float] = []  # shares of padding in windows
        self.peak = 0
        self._weights = {each.untyped_storage()._cdata for each in weights}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._formulas = dict(flop_counter.flop_registry)
        self._formulas.setdefault(CPU_ATTENTION, _attention)
        self._note_memory(inputs)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in self._formulas:
            with self:
                parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
        out = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if not func.is_view:
            counts = self.counts[self.stages[-1] if self.stages else REST]
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            counts['bytes'] += sum(each.numel() * each.itemsize for each in [*given, *results])
            if packet in self._formulas:
                macs = self._formulas[packet](*args, **kwargs, out_val=out) // 2
                counts[KINDS.get(packet, 'attention')] += macs
                counts['padding'] += round(macs * self.unused[-1]) if self.unused else 0
                counts['activations'] += results[0].numel()
        self._note_memory(results)
        return out

    def _note_memory(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._weights:
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {key: each for key, each in self._alive.items() if not each[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Operations of attention on a CPU: ``(B, h, N, d), (B, h, M, d), (B, h, M, e)``."""
    return flop_counter.sdpa_flop_count(query.shape, key.shape, value.shape)


def _inside(
    hooks: ExitStack,
    module: nn.Module,
    stack: list,
    entry: str | Callable[[nn.Module, Tensor], float],
) -> None:
    """Puts an entry on a stack while a module runs."""

    def enter(module: nn.Module, args: tuple) -> None:
        stack.append(entry(module, args[0]) if callable(entry) else entry)

    def leave(module: nn.Module, args: tuple, out: Any) -> None:
        stack.pop()

    hooks.callback(module.register_forward_pre_hook(enter).remove)
    hooks.callback(module.register_forward_hook(leave).remove)


def _unused_share(module: nn.Module, x: Tensor) -> float:
    """Which share of the windows of a feature map ``(B, C, H, W)`` is padding."""
    height, width = x.shape[2:]
    side = module.window_size
    return 1 - height * width / (-(-height // side) * -(-width // side) * side**2)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _sum(parts: Sequence[Cost]) -> Cost:
    names = [each.name for each in fields(Cost) if each.name != 'part']
    return Cost('total', **{name: sum(getattr(part, name) for part in parts) for name in names})


def as_dicts(costs: Costs) -> list[dict[str, str | int | float]]:
    """The parts and the total as plain data, in single units."""
    return [
        dict(asdict(part), macs=part.macs, intensity=round(part.intensity, 3))
        for part in (*costs.parts, costs.total)
    ]


def rows(costs: Costs) -> Iterator[list[str]]:
    """Yields a table: its head, a line for each part, and the total."""
    yield ['part', 'params M', 'GMACs', 'conv', 'linear', 'attn', 'padding', 'acts M', 'FLOP/byte']
    for part in (*costs.parts, costs.total):
        macs = part.macs, part.convolution, part.linear, part.attention, part.padding
        yield [
            part.part,
            f'{part.parameters / 1e6:.3f}',
            *(f'{count / 1e9:.3f}' for count in macs),
            f'{part.activations / 1e6:.2f}',
            f'{part.intensity:.1f}',
        ]
