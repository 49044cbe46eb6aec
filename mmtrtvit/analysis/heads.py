"""How alike the attention heads of a trained EfficientViT are (arXiv 2305.07027, figure 4).

The paper prints no formula. Ours: with ``A_i`` the attention map of head i in one window, all its
``(w * w) ** 2`` numbers as one vector, and ``cos`` the cosine of two vectors,

    s_i = mean over windows and images of max over j != i of cos(A_i, A_j)

and a block has the mean of ``s_i`` over its heads. Tokens that fill up windows count like others.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..engine.predictor import Predictor
from ..errors import UserError
from ..media import find_media
from ..models.efficientvit import AttentionHead, CascadedGroupAttention
from .figures import save_figure


@dataclass(frozen=True)
class Similarity:
    """How alike the heads of a block are.

    Attributes:
        block: Path of the block's attention in the backbone, up to the block.
        heads: Each head's largest cosine similarity to another, averaged.
    """

    block: str
    heads: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the heads."""
        return sum(self.heads) / len(self.heads)


def image_runs(
    predictor: Predictor, inputs: Sequence[str | Path], most: int
) -> list[Callable[[], object]]:
    """Returns functions that predict on one image each, for :func:`similarities`.

    Args:
        predictor: The model.
        inputs: Image files and folders of them.
        most: Number of images at most.

    Raises:
        UserError: If an input has no image.
    """
    media, problems = find_media(inputs)
    images = [str(each.source) for each in media if each.is_image]
    if problems or not images:
        raise UserError(' '.join(problems) or f'{inputs[0]} has no images in it.')
    return [partial(predictor, [image]) for image in images[:most]]


def similarities(backbone: nn.Module, runs: Sequence[Callable[[], object]]) -> list[Similarity]:
    """Measures how alike heads are while a model predicts; blocks of one head are left out.

    Args:
        backbone: An EfficientViT, in eval mode.
        runs: Each runs the model on some images.
    """
    sums: defaultdict[str, Tensor | float] = defaultdict(float)
    windows: defaultdict[str, int] = defaultdict(int)
    for run in runs:
        for block, maps in _attention_maps(backbone, run).items():
            found = largest_similarities(torch.stack(maps))
            sums[block] += found.sum(dim=1)
            windows[block] += found.shape[1]
    return [
        Similarity(block, tuple((total / windows[block]).tolist()))  # type: ignore[union-attr]
        for block, total in sums.items()
    ]


def largest_similarities(maps: Tensor) -> Tensor:
    """Each head's largest cosine similarity to another head, window by window.

    Args:
        maps: Attention maps of h > 1 heads in n windows of T tokens, ``(h, n, T, T)``.

    Returns:
        ``(h, n)``.
    """
    vectors = normalize(maps.flatten(2).transpose(0, 1), dim=2)  # (n, h, T * T)
    cosines = vectors @ vectors.transpose(1, 2)
    cosines.diagonal(dim1=1, dim2=2).fill_(-1.0)
    return cosines.amax(dim=2).T


def _attention_maps(backbone: nn.Module, run: Callable[[], object]) -> dict[str, list[Tensor]]:
    """The maps of all heads, ``(n, T, T)`` each, by block."""
    maps: defaultdict[str, list[Tensor]] = defaultdict(list)

    def keep(block: str) -> Callable:
        def hook(head: AttentionHead, args: tuple[Tensor, Tensor]) -> None:
            maps[block].append(head.attend(*args)[0].float().cpu())

        return hook

    with ExitStack() as hooks, torch.no_grad():
        for path, module in backbone.named_modules():
            if isinstance(module, CascadedGroupAttention) and len(module.heads) > 1:
                block = path.removesuffix('.branch.attention').removesuffix('.attention')
                for head in module.heads:
                    hooks.callback(head.register_forward_pre_hook(keep(block)).remove)
        run()
    return maps


def as_dicts(found: Mapping[str, Sequence[Similarity]]) -> list[dict[str, str | float]]:
    """One entry for each head of each block of each model, by the model's name."""
    return [
        dict(model=name, block=each.block, head=number, similarity=round(value, 4))
        for name, blocks in found.items()
        for each in blocks
        for number, value in enumerate(each.heads)
    ]


def rows(found: Mapping[str, Sequence[Similarity]]) -> Iterator[list[str]]:
    """Yields a table: its head, and a line for each block of each model."""
    yield ['model', 'block', 'heads', 'similarity', 'of each head']
    for name, blocks in found.items():
        for each in blocks:
            values = ' '.join(f'{value:.3f}' for value in each.heads)
            yield [name, each.block, str(len(each.heads)), f'{each.mean:.3f}', values]


def draw(found: Mapping[str, Sequence[Similarity]], out: str | Path) -> Path:
    """Draws the similarity of each block: a line for each model, a dot for each head."""
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    for name, blocks in found.items():
        names = [each.block for each in blocks]
        (line,) = axes.plot(names, [each.mean for each in blocks], label=name)
        for each in blocks:
            axes.plot([each.block] * len(each.heads), each.heads, 'o', ms=3, color=line.get_color())
    axes.set(
        title='similarity of attention heads',
        xlabel='block',
        ylabel='largest cosine similarity to another head',
        ylim=(None, 1),
    )
    axes.tick_params(axis='x', rotation=45)
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
    return save_figure(figure, out)
