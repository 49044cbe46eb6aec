"""The speed that the papers claim over other networks, published and measured side by side.

Ours and all classifiers of benchmarks/published/others.csv are timed in turn in one run, each at
the size of its published accuracy: those that the papers compare with, and today's alternatives.
Ours are fused copies; of the others, what timm can merge for inference is merged. Weights are
random: they change no time. The ratios are throughput over throughput, as the papers have them.

  traced  torch.jit.trace and freeze, as the papers measured on CPUs
  eager   PyTorch as it is; with --compile through torch.compile
  onnx    ONNX Runtime

Examples:
  python benchmarks/claims.py onnx --batches 16 --threads 1      # the papers' conditions on a CPU
  python benchmarks/claims.py onnx --figure pareto.svg           # accuracy over latency
  python benchmarks/claims.py eager --device cuda --dtype fp16 --batches 64 --cuda-graphs
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from common import (
    BACKBONES,
    PUBLISHED,
    Conditions,
    build_backbone,
    conditions,
    for_session,
    make_parser,
    onnx_session,
    randomise,
    read,
    save,
    table,
)
from matplotlib.figure import Figure
from torch import Tensor, nn

from mmtrtvit.analysis.figures import save_figure
from mmtrtvit.analysis.pareto import Mark, pareto_figure
from mmtrtvit.analysis.timing import threads, time_side_by_side
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.errors import UserError, did_you_mean
from mmtrtvit.models import fuse

SIZE = '224'  # of our published accuracies
CLASSES = 1000
COLUMNS = 'model', 'mode', 'batch', 'height', 'milliseconds', 'spread', 'top1'
CLAIM_COLUMNS = 'model', 'peer', 'mode', 'batch', 'measured', 'published', 'where', 'source'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, sizes=())
    parser.add_argument('mode', choices=MODES, help='what runs the networks')
    parser.add_argument(
        '--models',
        nargs='+',
        metavar='MODEL',
        help='ours, or of published/others.csv (default: all)',
    )
    parser.add_argument('--figure', metavar='FILE', help='draw accuracy over latency: SVG, PNG')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if args.mode != 'eager' and (args.compile or args.cuda_graphs or args.dtype != 'fp32'):
        raise UserError(f'{args.mode}: --dtype, --compile and --cuda-graphs are for eager alone.')
    settings, networks = conditions(args), chosen(args.models)
    packages = ('timm', 'onnxruntime') if args.mode == 'onnx' else ('timm',)
    for batch in args.batches:
        found = measure(networks, args.mode, batch, settings)
        print(table(found, COLUMNS), end='\n\n')
        ratios = claims(found)
        print(table(ratios, CLAIM_COLUMNS), flush=True)
        path = save(found, f'claims-{args.mode}', settings, packages, args.out)
        if ratios:
            out = args.out and args.out.with_stem(f'{args.out.stem}-ratios')
            print(save(ratios, f'claims-{args.mode}-ratios', settings, packages, out))
    print(path)
    if args.figure:
        batch = str(args.batches[0])
        rows = [row for row in read(path) if (row['mode'], row['batch']) == (args.mode, batch)]
        print(save_figure(draw(rows), args.figure))


def chosen(names: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Returns what is published of all networks or of some, by name.

    Raises:
        UserError: If there is no such network.
    """
    published = {row['model']: row for row in read(PUBLISHED / 'imagenet.csv')}
    networks = {
        name: dict(size=SIZE, distilled='', **published.get(name, {})) for name in BACKBONES
    }
    networks |= {row['model']: row for row in read(PUBLISHED / 'others.csv')}
    for name in names or ():
        if name not in networks:
            hint = did_you_mean(name, networks)
            raise UserError(f'{name} is neither ours nor in {PUBLISHED.name}/others.csv.{hint}')
    return {name: networks[name] for name in names or networks}


def measure(
    networks: dict[str, dict[str, str]], mode: str, batch: int, settings: Conditions
) -> list[dict[str, Any]]:
    """Times networks side by side.

    Args:
        networks: What :func:`chosen` returns.
        mode: A key of ``MODES``.
        batch: Images at a time.
        settings: The conditions.
    """
    functions = {}
    with tempfile.TemporaryDirectory() as folder, threads(settings.threads), torch.no_grad():
        for name, row in networks.items():
            side = int(row['size'])
            x = settings.random((batch, 3, side, side))
            functions[name] = MODES[mode](build(name), x, settings, Path(folder))
        timings = time_side_by_side(functions, settings.rounds, device=settings.device)
    return [
        dict(
            model=name,
            mode=mode,
            implementation='fused' if ours(name) else 'timm',
            batch=batch,
            height=row['size'],
            width=row['size'],
            milliseconds=timings[name].milliseconds,
            fastest=timings[name].fastest,
            spread=timings[name].spread,
            top1=_number(row.get('published_top1', '')),
            distilled=row['distilled'],
        )
        for name, row in networks.items()
    ]


def claims(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Puts what was measured beside the claims of published/claims.csv about it."""
    measured = {row['model']: row for row in found}
    rows: list[dict[str, Any]] = []
    for claim in read(PUBLISHED / 'claims.csv'):
        if {claim['model'], claim['peer']} <= measured.keys():
            ours, peer = measured[claim['model']], measured[claim['peer']]
            ratio = peer['milliseconds'] / ours['milliseconds']
            shared = {key: ours[key] for key in ('mode', 'batch')}
            rows.append(claim | shared | dict(published=claim['ratio'], measured=ratio))
    return rows


def _number(text: str) -> str:
    """The text, unless it is no single number."""
    return text if text.replace('.', '', 1).isdigit() else ''


def ours(name: str) -> bool:
    """Whether a network is one of this package."""
    return name in BACKBONES


def build(name: str) -> nn.Module:
    """A classifier by name, ready for inference, with random weights."""
    if ours(name):
        return Classifier(build_backbone(name)).eval()
    import timm
    from timm.utils import reparameterize_model

    torch.manual_seed(0)
    return reparameterize_model(randomise(timm.create_model(name)).eval())


class Classifier(nn.Module):
    """The fused copy of a backbone, and a linear layer on the mean of its last feature map.

    Args:
        backbone: One of ours.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = fuse(backbone.eval())
        self.head = nn.Linear(backbone.out_channels[-1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``(B, 1000)`` of images ``(B, 3, H, W)``."""
        return self.head(self.backbone(x)[-1].mean((2, 3)))


def traced(model: nn.Module, x: Tensor, settings: Conditions, folder: Path) -> Callable:
    """A frozen trace, in which norms are merged into convolutions."""
    model = settings.place(model)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # sizes that a trace takes for constants: here they are
        frozen = torch.jit.freeze(torch.jit.trace(model, x, check_trace=False))
    return settings.inference(frozen, x)


def eager(model: nn.Module, x: Tensor, settings: Conditions, folder: Path) -> Callable:
    """The module as it is."""
    return settings.inference(settings.place(model), x)


def onnx(model: nn.Module, x: Tensor, settings: Conditions, folder: Path) -> Callable:
    """A session of ONNX Runtime."""
    file = folder / 'model.onnx'
    if isinstance(model, Classifier):
        model.backbone = for_session(model.backbone, 'onnxruntime')
    export(model.cpu(), dict(image=x.cpu()), path=file, output_names=['logits'])
    return onnx_session(file, x, settings)


MODES = dict(traced=traced, eager=eager, onnx=onnx)


def draw(rows: Sequence[dict[str, str]]) -> Figure:
    """Draws published accuracy over measured latency, with the line of the best."""
    rows = [row for row in rows if row['top1']]
    families: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        families.setdefault(row['model'].split('_')[0], []).append(row)
    marks = [
        Mark(
            row['model'],
            float(row['milliseconds']),
            float(row['top1']),
            family + ' (distilled)' * all(each['distilled'] for each in members),
            prominent=ours(row['model']),
            named=ours(row['model']),
        )
        for family, members in families.items()
        for row in members
    ]
    row = rows[0]
    return pareto_figure(
        marks,
        xlabel=f'milliseconds for {row["batch"]} image(s), {row["mode"]}, {row["dtype"]}',
        ylabel='published top-1 on ImageNet, %',
        title=f'{row["machine"]}, {row["threads"]} threads, {row["versions"]}, {row["date"]}',
    )


if __name__ == '__main__':
    run_tool(main, parse_args())
