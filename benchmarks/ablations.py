"""Ablations: parameters, multiply-adds and latency of the papers' networks that lack something.

Networks of one question are measured in turn, as whole classifiers that were fused. What the papers
say of them stands in benchmarks/published/imagenet.csv, and docs/models.md shows both.

Examples:
  python benchmarks/ablations.py
  python benchmarks/ablations.py --questions efficientvit --rounds 9 --threads 1
  python benchmarks/tables.py docs/models.md
"""

import argparse
import itertools

import torch
from common import Conditions, apart, conditions, make_parser, randomise, save, table
from torch import nn

from mmtrtvit.analysis.cost import cost_of
from mmtrtvit.analysis.networks import build_network
from mmtrtvit.analysis.timing import threads, time_side_by_side
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.models import fuse
from mmtrtvit.paths import config_names

TRT_VIT, EFFICIENTVIT = 'trtvit_c', 'efficientvit_m4'
QUESTIONS = {
    'blocks': (
        *('resnet50', 'pvt_v2_b3', 'mixnet_v', 'refined_mixnet_v'),
        *('mixnet_a', 'mixnet_b', 'mixnet_c'),
    ),
    'stages': (TRT_VIT, *(f'{TRT_VIT}_{pattern}' for pattern in ('ccmm', 'cmmm', 'mmmm'))),
    'ratio': (f'{TRT_VIT}_r25', TRT_VIT, f'{TRT_VIT}_r75'),
    'efficientvit': (
        EFFICIENTVIT,
        *(
            f'{EFFICIENTVIT}_without_{part}'
            for part in ('cascade', 'sandwich', 'reallocation', 'interaction')
        ),
    ),
}
COLUMNS = 'model', 'parameters', 'gmacs', 'milliseconds', 'spread'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, sizes=[(224, 224)])
    parser.add_argument(
        '--questions',
        nargs='+',
        choices=QUESTIONS,
        default=list(QUESTIONS),
        metavar='QUESTION',
        help=f'which networks: {", ".join(QUESTIONS)} (default: all)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    for question, batch, size in itertools.product(args.questions, args.batches, args.sizes):
        rows = apart(settings, measured, question, (batch, 3, *size), settings)
        print(table(rows, COLUMNS), flush=True)
        path = save(rows, 'ablations', settings, ('timm',), args.out)
    print(path)


def config_of(model: str) -> str:
    """Name of a network's config."""
    ours = f'ablations/{model}.py'
    return ours if ours in config_names() else f'classification/{model}_imagenet.py'


def measured(question: str, shape: tuple[int, ...], settings: Conditions) -> list[dict]:
    """Cost and latency of the networks of a question; call it in a process of its own."""
    rows, functions = [], {}
    x = settings.random(shape)
    for model in QUESTIONS[question]:
        network, _, run = build_network(config_of(model))
        images = torch.empty(shape, device='meta')
        total = cost_of(network, lambda run=run, images=images: run(images), [images]).total
        rows.append(
            dict(
                model=model,
                mode=question,
                batch=shape[0],
                height=shape[2],
                width=shape[3],
                parameters=f'{total.parameters / 1e6:.2f}M',
                gmacs=total.macs / shape[0] / 1e9,
            )
        )
        functions[model] = settings.inference(Fused(config_of(model), settings), x)
    with threads(settings.threads):
        timings = time_side_by_side(functions, settings.rounds, device=settings.device)
    return [
        dict(row, milliseconds=timing.milliseconds, fastest=timing.fastest, spread=timing.spread)
        for row, timing in zip(rows, timings.values(), strict=True)
    ]


class Fused(nn.Module):
    """A network with random weights, fused, up to the outputs of its head.

    Args:
        config: Name of its config.
        settings: Where it computes and in which precision.
    """

    def __init__(self, config: str, settings: Conditions) -> None:
        super().__init__()
        model, _, _ = build_network(config, 'cpu')
        fused = settings.place(fuse(randomise(model)))
        self.backbone, self.neck, self.head = fused.backbone, fused.neck, fused.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, 3, H, W) -> (B, 1000)``."""
        return self.head(self.neck(self.backbone(x)))


if __name__ == '__main__':
    run_tool(main, parse_args())
