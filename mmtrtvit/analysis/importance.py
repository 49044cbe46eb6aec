"""How important the channels of query, key, value and FFN are (arXiv 2305.07027, figure 5).

Importance is a Taylor score (Molchanov et al., "Importance Estimation for Neural Network Pruning",
arXiv 1906.10771): how much the loss changes, to first order, when a channel is cut. Each of these
channels leaves a BatchNorm with weight ``w`` and bias ``b``, so cutting it sets both to zero:

    score = mean over batches of (w * dloss/dw + b * dloss/db) ** 2
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn

from ..engine.hosts import import_host
from ..engine.mistakes import explaining
from ..errors import UserError
from ..models.efficientvit import AttentionHead, LocalMixing
from .figures import save_figure

PARTS = 'query', 'key', 'value', 'ffn'


@dataclass(frozen=True)
class Importance:
    """How important the channels of a part of a stage are.

    Attributes:
        stage: Number of the stage, from 1.
        part: One of :data:`PARTS`; ``ffn`` is the hidden channels of all FFNs.
        channels: Number of channels.
        score: Mean Taylor score of a channel.
        kept: Which share of them is left when the least important ones of the whole backbone are
            cut.
    """

    stage: int
    part: str
    channels: int
    score: float
    kept: float


def taylor_scores(
    backbone: nn.Module, losses: Iterable[Callable[[], Tensor]]
) -> dict[tuple[int, str], Tensor]:
    """Scores all channels by gradient times weight.

    Args:
        backbone: An EfficientViT, in eval mode.
        losses: Each computes the loss of a batch.

    Returns:
        Scores, ``(channels,)``, by stage, from 1, and part.

    Raises:
        UserError: If there is no batch.
    """
    norms = list(_norms(backbone))
    for *_, norm in norms:
        norm.requires_grad_(True)
    scores = [torch.zeros_like(norm.weight) for *_, norm in norms]
    batches = 0
    for loss in losses:
        backbone.zero_grad()
        loss().backward()
        batches += 1
        for score, (*_, norm) in zip(scores, norms):
            score += sum(each.detach() * each.grad for each in (norm.weight, norm.bias)) ** 2
    if not batches:
        raise UserError('the data loader gives no batch, so there is no loss to explain')
    found: dict[tuple[int, str], list[Tensor]] = {}
    for score, (stage, parts, _) in zip(scores, norms):
        for part, each in zip(parts, score.split(list(parts.values()))):
            found.setdefault((stage, part), []).append(each / batches)
    return {key: torch.cat(parts) for key, parts in sorted(found.items(), key=_order)}


def _order(item: tuple[tuple[int, str], Any]) -> tuple[int, int]:
    stage, part = item[0]
    return stage, PARTS.index(part)


def _norms(backbone: nn.Module) -> Iterator[tuple[int, dict[str, int], nn.Module]]:
    """Yields the stage, the widths by part and the norm of all channels that are scored."""
    for number, stage in enumerate(backbone.stages, 1):
        for module in stage.modules():
            if isinstance(module, AttentionHead):
                yield number, dict(zip(PARTS, module.widths)), module.qkv.norm
            elif isinstance(module, LocalMixing):
                norm = module.ffn.branch[0].norm
                yield number, dict(ffn=norm.num_features), norm


def importances(scores: Mapping[tuple[int, str], Tensor], keep: float = 0.5) -> list[Importance]:
    """Sums up scores by stage and part.

    Args:
        scores: As :func:`taylor_scores` returns them.
        keep: Which share of all channels is kept, the most important ones.
    """
    merged = torch.cat(list(scores.values()))
    least = merged.topk(max(round(keep * len(merged)), 1)).values[-1]
    return [
        Importance(
            stage,
            part,
            channels=len(each),
            score=each.mean().item(),
            kept=(each >= least).float().mean().item(),
        )
        for (stage, part), each in scores.items()
    ]


def losses_of(config: Config, model: nn.Module, batches: int) -> Iterator[Callable[[], Tensor]]:
    """Yields functions that compute a model's loss on batches of its config's training data.

    Args:
        config: The config.
        model: Its model.
        batches: Number of batches.

    Raises:
        UserError: If the config has no training data.
    """
    scope = config.get('default_scope')
    if not config.get('train_dataloader'):
        raise UserError(f'{config.filename} has no train_dataloader, so there is no loss.')
    import_host(scope)
    with DefaultScope.overwrite_default_scope(scope), explaining(config):
        loader = Runner.build_dataloader(config.train_dataloader, seed=0)
        for data in islice(loader, batches):
            yield partial(_loss, model, data)


def _loss(model: nn.Module, data: Mapping[str, Any]) -> Tensor:
    inputs = model.data_preprocessor(data, training=True)
    return model.parse_losses(model(**inputs, mode='loss'))[0]


def as_dicts(found: Sequence[Importance]) -> list[dict[str, Any]]:
    """Plain data."""
    return [asdict(each) for each in found]


def rows(found: Sequence[Importance]) -> Iterator[list[str]]:
    """Yields a table: its head, a line for each part of each stage, and for the parts in all."""
    yield ['stage', 'part', 'channels', 'score', 'kept']
    for each in found:
        yield [
            str(each.stage),
            each.part,
            str(each.channels),
            f'{each.score:.2e}',
            f'{100 * each.kept:.0f}%',
        ]
    channels: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for each in found:
        channels[each.part] += each.channels
        kept[each.part] += each.kept * each.channels  # type: ignore[assignment]
    for part, count in channels.items():
        yield ['all', part, str(count), '', f'{100 * kept[part] / count:.0f}%']


def draw(found: Sequence[Importance], keep: float, out: str | Path) -> Path:
    """Draws which share of each part's channels is kept, stage by stage."""
    stages = sorted({each.stage for each in found})
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    width = 0.8 / len(PARTS)
    for place, part in enumerate(PARTS):
        shares = [100 * each.kept for each in found if each.part == part]
        axes.bar([stage + place * width for stage in range(len(stages))], shares, width, label=part)
    axes.axhline(100 * keep, color='grey', lw=0.8)
    axes.set(
        title=f'channels among the most important {100 * keep:.0f}% of the backbone',
        xlabel='stage',
        ylabel='% of the channels',
        ylim=(0, 100),
    )
    axes.set_xticks([stage + 1.5 * width for stage in range(len(stages))], map(str, stages))
    axes.legend(fontsize='small')
    return save_figure(figure, out)
