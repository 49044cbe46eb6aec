r"""Latency of an end-to-end ONNX file beside that of a plain export of the same network.

The plain one is what ``torch.onnx.export`` makes of backbone, neck and head. It ends at raw scores
and deltas: top-k, boxes and NMS are still to be paid for. Both run in ONNX Runtime on the CPU, in
one process, turn by turn.

Example:
  python benchmarks/versus_plain_export.py configs/demo/retinanet_trtvit_b.py \
      work_dirs/demo/retinanet_trtvit_b --image data/shapes/images/validation/00000000.jpg \
      --size 512 512
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmtrtvit.analysis.timing import Timing, time_side_by_side
from mmtrtvit.engine.command_line import new_parser, run_tool


class PlainNetwork(nn.Module):
    """A model up to its raw outputs: ``(B, 3, H, W) -> maps``.

    Args:
        model: RetinaNet of MMDetection, or a segmentor of MMSegmentation.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else nn.Identity()
        self.head = model.decode_head if hasattr(model, 'decode_head') else model.bbox_head

    def forward(self, input: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` to the head's raw outputs, ``(B, C_i, H_i, W_i)`` each."""
        outputs = self.head(self.neck(self.backbone(input)))
        return [outputs] if isinstance(outputs, Tensor) else [x for part in outputs for x in part]


def export_plain(model: nn.Module, example: Tensor, path: Path) -> None:
    """Exports a model without post-processing, for any batch and size, with PyTorch's defaults."""
    axes = {0: 'batch', 2: 'height', 3: 'width'}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            PlainNetwork(model).eval(),
            (example,),
            str(path),
            input_names=['input'],
            dynamic_axes=dict(input=axes),
            opset_version=17,
            dynamo=False,
        )


def compare(
    config: str, checkpoint: str, image: str, size: Sequence[int], runs: int, threads: int
) -> tuple[dict[str, Timing], dict[str, int], float]:
    """Exports a model in both ways and times both files.

    Args:
        config: Config of a RetinaNet or of a segmentor.
        checkpoint: Its weights, or the work dir of its training.
        image: File of the image to look at: the number of candidates for NMS depends on it.
        size: Height and width of the input; the image is stretched to it.
        runs: Timed runs of each file.
        threads: Threads of ONNX Runtime.

    Returns:
        Times and numbers of nodes by file, and the seconds that the end-to-end export took.
    """
    import onnx

    from mmtrtvit.deploy.export.model import export_model
    from mmtrtvit.deploy.settings import DeploySettings
    from mmtrtvit.engine.predictor import load
    from mmtrtvit.runtime.sessions.onnx import OnnxSession

    predictor = load(config, checkpoint, device='cpu')
    calls, nodes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        plain, ours = Path(folder) / 'plain.onnx', Path(folder) / 'end2end.onnx'
        feeds = _inputs(predictor, image, size)
        start = time.perf_counter()
        export_model(predictor.model, DeploySettings(), path=ours)
        seconds = time.perf_counter() - start
        export_plain(predictor.model, torch.from_numpy(feeds['input']), plain)
        for path in (plain, ours):
            calls[path.stem] = partial(OnnxSession(path, threads=threads).run, feeds)
            nodes[path.stem] = len(onnx.load(path).graph.node)
        return time_side_by_side(calls, runs, warmup=5), nodes, seconds


def _inputs(predictor: object, image: str, size: Sequence[int]) -> dict[str, np.ndarray]:
    import cv2

    resized = cv2.resize(predictor.read(image), tuple(size)[::-1])
    tensor = torch.from_numpy(resized.transpose(2, 0, 1).copy())
    data = predictor.model.data_preprocessor(dict(inputs=[tensor], data_samples=None), False)
    return dict(input=data['inputs'].numpy(), sizes=np.array([size], np.float32))


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config of a RetinaNet or of a segmentor')
    parser.add_argument('checkpoint', help='its weights, or the work dir of its training')
    parser.add_argument('--image', required=True, help='image to run on')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(512, 512),
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the input (default: 512 512)',
    )
    parser.add_argument('--runs', type=int, default=50, help='timed runs (default: %(default)s)')
    parser.add_argument(
        '--threads', type=int, default=0, help='threads of ONNX Runtime (default: one per core)'
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    timings, nodes, seconds = compare(
        args.config, args.checkpoint, args.image, args.size, args.runs, args.threads
    )
    print(f'exported end to end in {seconds:.1f} s')
    print(f'{"file":>8} {"nodes":>6} {"median ms":>10} {"fastest ms":>11}')
    for name, timing in timings.items():
        print(f'{name:>8} {nodes[name]:>6} {timing.milliseconds:>10.1f} {timing.fastest:>11.1f}')
    ratio = timings['end2end'].milliseconds / timings['plain'].milliseconds
    print(f'end2end takes {ratio:.3f} times as long')


if __name__ == '__main__':
    run_tool(main, parse_args())
