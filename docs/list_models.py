"""Writes docs/model_zoo.md from the metafiles and from what was measured, and the metafiles.

Examples:
  python docs/list_models.py            # the page
  python docs/list_models.py --count    # writes configs/metafiles first, by building every model
"""

import argparse
import csv
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml
from list_configs import markdown

from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.files import write_whole

ROOT = Path(__file__).parents[1]
CONFIGS, BENCHMARKS = ROOT / 'configs', ROOT / 'benchmarks'
OUT = ROOT / 'docs/model_zoo.md'
DATASETS = {'mmdet': 'COCO', 'mmseg': 'ADE20K', 'mmpretrain': 'ImageNet-1k'}
LENGTHS = {'max_epochs': 'Epochs', 'max_iters': 'Iterations'}
METHODS = {
    'retinanet': ('RetinaNet', '800 x 1280'),
    'mask_rcnn': ('Mask R-CNN', '800 x 1280, 1000 proposals, 100 masks'),
    'upernet': ('UPerNet', '512 x 2048'),
    'fpn': ('Semantic FPN', '512 x 2048'),
    'classifiers': ('Classifiers', '224 x 224'),
}
FAMILIES = {
    'trtvit': (
        'TRT-ViT',
        '[BottleNeck, Transformer, MixBlockC]',
        'TRT-ViT: TensorRT-oriented Vision Transformer',
        'https://arxiv.org/abs/2205.09579',
    ),
    'efficientvit': (
        'EfficientViT',
        '[Sandwich Layout, Cascaded Group Attention]',
        'EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention',
        'https://arxiv.org/abs/2305.07027',
    ),
}
METAFILE = """\
# Written by `python docs/list_models.py --count`. Parameters are those of the whole model. FLOPs
# count a multiply-add once, as OpenMMLab's tools do, with the products of attention, for one image
# of the size of published numbers: 800 x 1280 for detectors (1000 proposals, 100 masks),
# 512 x 2048 for segmentors, 224 x 224 for classifiers. There are no trained weights, and so neither
# Results nor Weights.
Collections:
- Name: {0}
  Metadata:
    Architecture: {1}
  Paper:
    Title: '{2}'
    URL: {3}

Models:
"""
HEAD = """# Model zoo

Written by `python docs/list_models.py` from `configs/metafiles` and `benchmarks/results`; a test
fails when it is out of date.

**There are no trained weights of these models to download**: nobody has run these configs on COCO,
ADE20K or ImageNet yet, so their own metrics are *open*. *Published* is what the papers say of their
models, which started from ImageNet weights; *recalled* is from memory of a paper, to be checked by
someone who has it. EfficientViT's ImageNet weights load by name, and so do its authors' two
detectors from their files ([Weights](weights.md)).

* **MACs**: multiply-adds of one image, of convolutions, linear layers and the products of attention
  (papers often leave the last out); the size stands above each table. `tools/cost.py CONFIG` gives
  all numbers, part by part ([how](models.md#what-a-network-costs)).
* **Milliseconds** are medians for one image on the machine that stands below the table. An empty
  cell was never measured. Times of other sizes, batches and networks are in [Speed](speed.md).
* **TensorRT**: no engine was run by us, so there is no time of one
  ([what is tested](tensorrt.md#what-is-tested)).

`mim search mmtrtvit` lists the same models. MMEngine's `hub.get_config` knows a fixed list of
packages, without this one: `Config.fromfile(mmtrtvit.config_path('NAME.py'))` does the same.
"""


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = new_parser(__doc__)
    parser.add_argument('--count', action='store_true', help='write the metafiles, too: a minute')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Writes the files."""
    if args.count:
        for family in FAMILIES:
            write_whole(CONFIGS / f'metafiles/{family}.yml', metafile(family))
    write_whole(OUT, zoo())


def configs_of(family: str) -> Iterator[Path]:
    """Configs that are trained on public data, method by method."""
    for method in METHODS:
        yield from sorted(CONFIGS.glob(f'{method}_{family}_*.py'))
    yield from sorted(CONFIGS.glob(f'classification/{family}_*_imagenet.py'))


def metafile(family: str) -> str:
    """Returns the metafile of a family, with what its models count."""
    title = FAMILIES[family][0]
    return METAFILE.format(*FAMILIES[family]) + ''.join(
        entry(path, title) for path in configs_of(family)
    )


def entry(path: Path, collection: str) -> str:
    """Returns the lines of a model in a metafile."""
    metadata = ', '.join(f'{key}: {value}' for key, value in counted(path).items())
    return f"""\
- Name: {path.stem}
  In Collection: {collection}
  Config: {path.relative_to(ROOT)}
  Metadata: {{{metadata}}}
"""


def counted(path: Path, *, macs: bool = True) -> dict[str, str | int]:
    """Returns the metadata of a config: its data and schedule, and what its model counts.

    Args:
        path: The config.
        macs: Whether to run the model for its multiply-adds.
    """
    import torch

    from mmtrtvit.analysis.cost import cost_of
    from mmtrtvit.analysis.networks import build_network
    from mmtrtvit.engine.config import read_config

    config = read_config(path)
    model, shape, run = build_network(str(path))
    loop = config.train_cfg
    metadata = {
        'Training Data': DATASETS[config.default_scope],
        **{unit: loop[key] for key, unit in LENGTHS.items() if key in loop},
        'Parameters': sum(parameter.numel() for parameter in model.parameters()),
    }
    if macs:
        images = torch.empty(1, 3, *shape, device='meta')
        metadata['FLOPs'] = cost_of(model, lambda: run(images), [images]).total.macs
    return metadata


def zoo() -> str:
    """Returns the text of docs/model_zoo.md."""
    models = [
        model
        for family in FAMILIES
        for model in yaml.safe_load((CONFIGS / f'metafiles/{family}.yml').read_text())['Models']
    ]
    sections = (
        section(method, [model for model in models if method_of(model) == method])
        for method in METHODS
    )
    return '\n'.join([HEAD, *sections])


def section(method: str, models: list[dict]) -> str:
    """Returns the title, the table and the conditions of a method's models."""
    title, size = METHODS[method]
    used: dict[str, None] = {}  # how what stands in the table was measured, in its order
    columns = classifier_columns if method == 'classifiers' else detector_columns
    rows = [
        {**counts_of(model), **columns(model['Name'], method, used), 'measured': 'open'}
        for model in models
    ]
    text = filled(f'MACs at {size}. {SAYING[method]}')
    conditions = ''.join(filled(f'* {line}', '  ') + '\n' for line in used)
    return f'## {title}\n\n{text}\n\n{markdown(rows)}\n' + (conditions and f'\n{conditions}')


def counts_of(model: dict) -> dict[str, str]:
    """Returns the columns that a metafile has."""
    counts = model['Metadata']
    return {
        'config': f'[`{model["Name"]}`](../{model["Config"]})',
        'parameters': f'{counts["Parameters"] / 1e6:.1f}M',
        'MACs': f'{counts["FLOPs"] / 1e9:.3g}G',
    }


def detector_columns(name: str, method: str, used: dict[str, None]) -> dict[str, str]:
    """Returns what was measured of a detector or segmentor, and what is published of it."""
    published = read(BENCHMARKS / 'published/detectors.csv').get(name)
    columns = {'published': cell(published, 'metric', {})}
    if method not in ('retinanet', 'mask_rcnn'):
        return columns
    cpu = measured('detectors-inference_AMD', score_threshold='0').get(name)
    gpu = measured('detectors-inference_NVIDIA').get(name)
    return {'CPU, fp32, ms': whole(cpu, used), 'GPU, fp16, ms': whole(gpu, used), **columns}


def classifier_columns(name: str, method: str, used: dict[str, None]) -> dict[str, str]:
    """Returns what was measured of a classifier's backbone, and what is published of it."""
    backbone = name.removesuffix('_imagenet')
    onnx = measured('claims-onnx_AMD', implementation='fused').get(backbone)
    int8 = measured('int8_AMD', height='512').get(backbone)
    openvino = measured('int8-openvino_AMD').get(backbone)
    published = read(BENCHMARKS / 'published/imagenet.csv').get(backbone)
    return {
        'ONNX Runtime, 224, ms': cell(onnx, 'milliseconds', used),
        'its INT8, 512': times(int8, used),
        'OpenVINO, 512, ms': cell(openvino, 'fp32_ms', used),
        'its INT8, ms': cell(openvino, 'int8_ms', used),
        'published top-1': cell(published, 'published_top1', {}),
    }


DETECTORS = (
    'Times are those of backbone, neck and heads at 800 x 1344, fused, without post-processing, '
    'which depends on what is found.'
)
SAYING = {
    'retinanet': DETECTORS,
    'mask_rcnn': DETECTORS,
    'upernet': 'No times were measured.',
    'fpn': 'No times were measured.',
    'classifiers': 'Times are those of the backbone alone; *its INT8, 512* is how many times as '
    'fast as in FP32 it is in INT8, for an image of 512 x 512.',
}


def filled(text: str, indent: str = '') -> str:
    """Returns a text in lines of a page."""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_on_hyphens=False)


def method_of(model: dict) -> str:
    """Name of the method in :data:`METHODS` that a model's config belongs to."""
    if '/classification/' in model['Config']:
        return 'classifiers'
    return next(method for method in METHODS if model['Name'].startswith(method))


def measured(beginning: str, **conditions: str) -> dict[str, dict[str, str]]:
    """Returns rows of the newest file of results whose name begins so, by model."""
    files = BENCHMARKS.glob(f'results/{beginning}*.csv')
    return read(
        max(files, key=lambda path: (path.stem.rpartition('_')[2], path.name)), **conditions
    )


def read(path: Path, **conditions: str) -> dict[str, dict[str, str]]:
    """Returns the rows of a CSV file by model, the first of each that has these values."""
    rows: dict[str, dict[str, str]] = {}
    with path.open(newline='') as file:
        for row in csv.DictReader(file):
            if all(row[key] == value for key, value in conditions.items()):
                rows.setdefault(row['model'], row)
    return rows


def cell(row: dict[str, str] | None, column: str, used: dict[str, None]) -> str:
    """Returns a value and notes how it was measured."""
    if row is None:
        return ''
    if 'command' in row:
        used[
            f'`{row["command"]}`; {row["machine"]}; {row["versions"]}; {row["threads"]} threads, '
            f'{row["dtype"]}; {row["rounds"]} rounds; {row["date"]}'
        ] = None
    return row[column]


def whole(row: dict[str, str] | None, used: dict[str, None]) -> str:
    """Returns the time of a detector's network, without its post-processing."""
    if row is None:
        return ''
    return f'{sum(float(cell(row, part, used)) for part in ("backbone", "neck", "head")):.4g}'


def times(row: dict[str, str] | None, used: dict[str, None]) -> str:
    """Returns by what factor INT8 is faster."""
    return f'{float(cell(row, "speedup", used)):.2f} times' if row else ''


if __name__ == '__main__':
    run_tool(main, parse_args())
