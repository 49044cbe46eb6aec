"""Blocks of networks at the sizes of their stages: ours by name, any module by its import path."""

import ast
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import nn

from ...errors import UserError, did_you_mean, listed
from ...models import EfficientViT, TRTViT
from ...models.backbone import MIN_SIZE
from ...models.efficientvit import LocalMixing, Residual, SandwichBlock, WindowAttention
from ...models.fast.fusion import fuse_block, fuse_stem
from ...models.trt_vit import BottleNeck, MixBlockA, MixBlockB, MixBlockC, Transformer
from ..options import CHANNELS

STRIDES = 4, 8, 16, 32
STEM_CHANNELS = 64
# TRT-ViT's, as published.
MIX: dict[str, Any] = dict(mix_ratio=0.5, head_dim=32, mlp_ratio=3.0, drop_path=0.0)
KERNELS = EfficientViT.arch_settings['m4']['kernels']
WINDOW = 7

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Stage:
    """Where a block stands in a network of four stages.

    Attributes:
        number: 1 to 4.
        channels: Width.
        size: Height and width of the feature map.
        entry: Channels, height and width of what leads into the stage: the output of the stage
            before, or of the stem.
        image: Height and width of the image.
    """

    number: int
    channels: int
    size: tuple[int, int]
    entry: Shape
    image: tuple[int, int]

    @property
    def map(self) -> Shape:
        """Channels, height and width of the feature map."""
        return self.channels, *self.size


@dataclass(frozen=True)
class Block:
    """A block that can be built for any stage.

    Attributes:
        name: What tables call it.
        build: Makes it for a stage.
        shape: Channels, height and width of its input at a stage.
        fuse: Makes the copy for inference.
        stages: Numbers of the stages that have it.
        signature: How it is called, if its user does that.
    """

    name: str
    build: Callable[[Stage], nn.Module]
    shape: Callable[[Stage], Shape] = lambda stage: stage.map
    fuse: Callable[[nn.Module], nn.Module] = fuse_block
    stages: tuple[int, ...] = (1, 2, 3, 4)
    signature: str = ''


def stages_of(
    image: tuple[int, int] = (224, 224), channels: Sequence[int] = CHANNELS
) -> list[Stage]:
    """The four stages of a network at strides 4, 8, 16 and 32.

    Args:
        image: Height and width of the image.
        channels: Width of each stage.

    Raises:
        UserError: If the image is smaller than the backbones take, or there are not four widths.
    """
    if min(image) < MIN_SIZE:
        raise UserError(
            f'the image is {image[0]}x{image[1]}: expected at least {MIN_SIZE}x{MIN_SIZE}, which '
            'leaves one position for the last stage.'
        )
    if len(channels) != len(STRIDES):
        raise UserError(f'{len(channels)} widths {tuple(channels)}: expected one for each stage, 4')
    sizes = [(ceil(image[0] / stride), ceil(image[1] / stride)) for stride in STRIDES]
    maps = [(width, *size) for width, size in zip(channels, sizes)]
    entries = [(STEM_CHANNELS, *sizes[0]), *maps[:-1]]
    return [
        Stage(index + 1, channels[index], sizes[index], entries[index], image) for index in range(4)
    ]


def _network(stage: Stage) -> TRTViT:
    """A TRT-ViT whose stages all are as wide as its stem, but for this one and those after it."""
    widths = [stage.entry[0]] * (stage.number - 1) + [stage.channels] * (5 - stage.number)
    return TRTViT(dict(depths=(1, 1, 1, 1), channels=widths), 'C-C-C-C').eval()


def _embedding(stage: Stage) -> nn.Module:
    return _network(stage).stages[stage.number - 1][:-1]


def _mix(kind: Callable[..., nn.Module]) -> Callable[[Stage], nn.Module]:
    return lambda stage: kind(stage.channels, **MIX)


def _attention(stage: Stage) -> nn.Module:
    return Residual(WindowAttention(stage.channels, KERNELS, WINDOW))


# By name: the blocks of both papers, the parts of EfficientViT's, and what else a TRT-ViT has.
BLOCKS = {
    block.name: block
    for block in (
        Block('BottleNeck', lambda stage: BottleNeck(stage.channels, stage.channels // 4)),
        Block('Transformer', lambda stage: Transformer(stage.channels)),
        Block('MixBlockA', _mix(MixBlockA)),
        Block('MixBlockB', _mix(MixBlockB)),
        Block('MixBlockC', _mix(MixBlockC)),
        Block('Sandwich', lambda stage: SandwichBlock(stage.channels, KERNELS, WINDOW)),
        Block('CascadedAttention', _attention),
        Block('FFN', lambda stage: LocalMixing(stage.channels).ffn),
        Block('Depthwise', lambda stage: LocalMixing(stage.channels).interaction),
        Block(
            'Stem',
            lambda stage: _network(stage).stem,
            shape=lambda stage: (3, *stage.image),
            fuse=fuse_stem,
            stages=(1,),
        ),
        Block('Embedding', _embedding, shape=lambda stage: stage.entry),
    )
}
OF_THE_PAPERS = 'BottleNeck', 'Transformer', 'MixBlockA', 'MixBlockB', 'MixBlockC', 'Sandwich'


def find_block(name: str) -> Block:
    """Returns a block.

    Args:
        name: One of :data:`BLOCKS`, in either case, or ``package.module:Class(arguments)``. The
            arguments are literals, in which ``channels``, ``height`` and ``width`` stand for the
            stage's, also in sums, products and quotients: ``mine:Block(channels, channels // 4)``.

    Raises:
        UserError: If there is none of that name, or the text cannot be read.
    """
    if ':' in name:
        return _imported(name)
    for known, block in BLOCKS.items():
        if known.lower() == name.lower():
            return block
    raise UserError(
        f'there is no block {name}.{did_you_mean(name, BLOCKS)} Expected one of '
        f'{listed(BLOCKS, len(BLOCKS))}, or package.module:Class(arguments).'
    )


def build(block: Block, stage: Stage, device: str = 'cpu') -> nn.Module:
    """Builds a block in eval mode.

    Args:
        block: The block.
        stage: Where it stands.
        device: ``'meta'`` for one without numbers.

    Raises:
        UserError: If it cannot be built for the stage, or does not compute a feature map from one
            of the stage's size; the message has the signature of the block.
    """
    shape = block.shape(stage)
    place = f'{block.name} at {"x".join(map(str, shape))} (channels x height x width)'
    try:
        with torch.device('meta'), torch.no_grad():
            module = block.build(stage).eval()
            out = module(torch.empty(1, *shape))
    except UserError:
        raise
    except Exception as error:  # whatever a module of the user's raises
        hint = f'. Its signature: {block.signature}' if block.signature else ''
        raise UserError(f'{place} cannot be computed: {error}{hint}') from error
    if not (isinstance(out, torch.Tensor) and out.ndim == 4):
        kind = f'{out.ndim}-D tensor' if isinstance(out, torch.Tensor) else type(out).__name__
        raise UserError(
            f'{place} returns a {kind}: expected one feature map (batch, channels, height, width)'
        )
    if device == 'meta':
        return module
    torch.manual_seed(0)
    with torch.device(device):
        return block.build(stage).eval()


def _imported(text: str) -> Block:
    path, _, call = text.partition(':')
    expected = f'{text}: expected package.module:Class(arguments)'
    try:
        tree = ast.parse(call.strip(), mode='eval').body
    except SyntaxError as error:
        raise UserError(f'{expected}, but {call!r} is no call: {error.msg}.') from error
    target = tree.func if isinstance(tree, ast.Call) else tree
    if not isinstance(target, ast.Name):
        raise UserError(f'{expected}, with the plain name of a class.')
    given = tree if isinstance(tree, ast.Call) else ast.Call(target, [], [])
    kind = _find(path, target.id, text)
    signature = f'{target.id}{_signature(kind)}'

    def make(stage: Stage) -> nn.Module:
        names = dict(channels=stage.channels, height=stage.size[0], width=stage.size[1])
        values = [_value(each, names, text) for each in given.args]
        named = {str(each.arg): _value(each.value, names, text) for each in given.keywords}
        try:
            module = kind(*values, **named)
        except Exception as error:  # whatever a class of the user's raises
            raise UserError(
                f'{text} cannot be made: {error}. Its signature: {signature}'
            ) from error
        if not isinstance(module, nn.Module):
            raise UserError(f'{text} is a {type(module).__name__}, expected a module of PyTorch')
        return module

    return Block(text, make, signature=signature)


def _find(path: str, name: str, text: str) -> Callable[..., object]:
    sys.path.insert(0, os.getcwd())  # as python -m does
    try:
        module = importlib.import_module(path)
    except Exception as error:  # a module of the user's may raise anything
        raise UserError(f'{text}: {path} cannot be imported: {error}') from error
    finally:
        sys.path.remove(os.getcwd())
    kind = getattr(module, name, None)
    if not callable(kind):
        known = [each for each in dir(module) if callable(getattr(module, each))]
        raise UserError(f'{text}: {path} has no class {name}.{did_you_mean(name, known)}')
    return kind


def _signature(kind: Callable[..., object]) -> str:
    try:
        return str(inspect.signature(kind))
    except (TypeError, ValueError):  # of a class that is not written in Python
        return '(unknown)'


_OPERATIONS: dict[type, Callable[[int, int], int | float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
}


def _value(node: ast.expr, names: dict[str, int], text: str) -> object:
    """The value of a literal, in which names and arithmetic on them may stand."""
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Tuple | ast.List):
        values = [_value(each, names, text) for each in node.elts]
        return tuple(values) if isinstance(node, ast.Tuple) else values
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        sides = [_value(each, names, text) for each in (node.left, node.right)]
        if all(type(side) in (int, float) for side in sides):
            with_zero = isinstance(node.op, ast.FloorDiv) and not sides[1]
            if not with_zero:
                return _OPERATIONS[type(node.op)](*sides)  # type: ignore[arg-type]
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise UserError(
            f'{text}: the argument {ast.unparse(node)} is neither a literal nor made of '
            f'{listed(names)} and whole numbers by + - * //'
        ) from error
