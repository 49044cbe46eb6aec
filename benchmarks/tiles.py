"""Compares detection in tiles, merged by the runtime and by SAHI, on generated large images.

Each large image is a mosaic of generated ones, so that a model of `mmtrtvit demo` knows its
objects. Both ways see the same tiles and the same detections in them; only the merging differs.

Example:
  pip install sahi
  python benchmarks/tiles.py work_dirs/demo/retinanet_trtvit_b/deploy --csv tiles.csv
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from mmtrtvit.arguments import positive
from mmtrtvit.datasets.generated.shapes import make_shapes
from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detections, Detector
from mmtrtvit.runtime.tiling import MERGES

OVERLAP = 0.25  # with it, both cut the mosaics into the same tiles
SCORES = 0.1, 0.3
MOST = 1000  # detections of an image that count


class Mosaics(NamedTuple):
    """A set of large images: mosaics of generated ones of one size.

    Attributes:
        size: Height and width of a generated image.
        grid: How many of them are above and beside each other.
    """

    size: tuple[int, int]
    grid: tuple[int, int]


SETS = {
    'as trained': Mosaics((192, 192), (4, 4)),
    'oblong': Mosaics((160, 240), (3, 5)),
    'large objects': Mosaics((384, 384), (2, 2)),
}


class Remembering(Detector):
    """A detector that runs its graph once on each input, whoever cuts it out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: dict[tuple, Any] = {}

    def infer(self, batch: Any, result: Any = None) -> list[Any]:
        """Returns what is known, and runs the graph for the rest."""
        keys = [(hash(each.image.tobytes()), each.original) for each in batch]
        for key, each in zip(keys, batch):
            if key not in self._known:
                (self._known[key],) = super().infer([each], result)
        return [self._known[key] for key in keys]


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', help='folder of a detector that tools/deploy.py wrote')
    parser.add_argument(
        '--images', type=positive, default=8, help='mosaics of each set (default: %(default)s)'
    )
    parser.add_argument(
        '--tile', type=positive, default=192, help='side of a tile (default: %(default)s)'
    )
    parser.add_argument('--csv', metavar='FILE', help='write the table to this file, too')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    model = Remembering(args.work_dir, threads=2)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, mosaics in SETS.items():
            images, truth = make(Path(folder, name), mosaics, args.images)
            for score in SCORES:
                rows += measure(name, model, images, truth, args.tile, score)
    width = max(map(len, SETS))
    print(f'{"set":{width}}  score  whole  merged by  AP      AP_50   recall')
    for row in rows:
        print(
            f'{row["set"]:{width}}  {row["score"]:<5}  {row["whole"]:5}  {row["merged by"]:9}  '
            f'{row["AP"]:.4f}  {row["AP_50"]:.4f}  {row["recall"]:.4f}'
        )
    if args.csv:
        with open(args.csv, 'w', newline='') as file:
            writer = csv.DictWriter(file, rows[0], lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)


def make(folder: Path, mosaics: Mosaics, count: int) -> tuple[list[np.ndarray], COCO]:
    """Makes large images, and what is in them."""
    height, width = mosaics.size
    rows, columns = mosaics.grid
    make_shapes(folder, 1, val=count * rows * columns, size=mosaics.size, seed=7)
    with redirect_stdout(StringIO()):
        parts = COCO(folder / 'annotations/instances_validation.json')
    numbers = iter(sorted(parts.imgs))
    images, content = [], dict(images=[], annotations=[], categories=list(parts.cats.values()))
    for number in range(1, count + 1):
        image = np.zeros((rows * height, columns * width, 3), np.uint8)
        content['images'].append(dict(id=number, height=rows * height, width=columns * width))
        for top in range(0, rows * height, height):
            for left in range(0, columns * width, width):
                part = parts.imgs[next(numbers)]
                file = folder / 'images/validation' / part['file_name']
                image[top : top + height, left : left + width] = cv2.imread(str(file))
                for each in parts.imgToAnns[part['id']]:
                    x, y, *sides = each['bbox']
                    box = [x + left, y + top, *sides]
                    content['annotations'].append(
                        dict(
                            id=len(content['annotations']) + 1,
                            image_id=number,
                            category_id=each['category_id'],
                            bbox=box,
                            area=each['area'],
                            iscrowd=0,
                        )
                    )
        images.append(image)
    truth = COCO()
    truth.dataset = content
    with redirect_stdout(StringIO()):
        truth.createIndex()
    return images, truth


def measure(
    name: str, model: Detector, images: list[np.ndarray], truth: COCO, tile: int, score: float
) -> Iterator[dict[str, Any]]:
    """Yields a row for each way through a set."""
    for whole in (False, True):
        for merged_by, detect in WAYS.items():
            found = [
                detect(model, image, tile=tile, score=score, whole=whole)
                for image in tqdm(images, f'{name}, {merged_by}', leave=False, disable=None)
            ]
            row = dict(set=name, score=score, whole='yes' if whole else 'no')
            yield {**row, 'merged by': merged_by, **evaluate(found, truth)}


def in_tiles(
    model: Detector, image: np.ndarray, *, tile: int, score: float, whole: bool, merge: str
) -> Detections:
    """Detections by the runtime's own tiles."""
    found = model(
        image,
        tile=(tile, tile),
        overlap=OVERLAP,
        tile_whole=whole,
        tile_merge=merge,
        tile_score_thr=score,
    )
    return found.above(score)


def by_sahi(
    model: Detector, image: np.ndarray, *, tile: int, score: float, whole: bool
) -> Detections:
    """Detections by SAHI's."""
    try:
        from sahi.models.base import DetectionModel
        from sahi.predict import get_sliced_prediction
        from sahi.prediction import ObjectPrediction
    except ImportError as error:
        raise UserError(f'this needs SAHI: pip install sahi ({error}).') from error

    class Adapter(DetectionModel):
        def load_model(self) -> None:
            self.model = model

        def perform_inference(self, image: np.ndarray) -> None:
            found = model(np.ascontiguousarray(image[..., ::-1]))
            self._original_predictions = found.above(self.confidence_threshold)

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            found = self._original_predictions
            shift = shift_amount_list[0] if np.ndim(shift_amount_list) > 1 else shift_amount_list
            shape = full_shape_list[0] if np.ndim(full_shape_list) > 1 else full_shape_list
            self._object_prediction_list_per_image = [
                [
                    ObjectPrediction(
                        bbox=box,
                        score=score,
                        category_id=label,
                        category_name=str(label),
                        shift_amount=shift,
                        full_shape=shape,
                    )
                    for box, score, label in zip(
                        found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()
                    )
                ]
            ]

    result = get_sliced_prediction(
        np.ascontiguousarray(image[..., ::-1]),
        Adapter(device='cpu', confidence_threshold=score),
        slice_height=tile,
        slice_width=tile,
        overlap_height_ratio=OVERLAP,
        overlap_width_ratio=OVERLAP,
        perform_standard_pred=whole,
        verbose=0,
    )
    found = result.object_prediction_list
    return Detections(
        np.array([each.bbox.to_xyxy() for each in found], np.float32).reshape(-1, 4),
        np.array([each.score.value for each in found], np.float32),
        np.array([each.category.id for each in found], np.int32),
        image.shape[:2],
    )


WAYS = {
    **{f'ours, {merge}': partial(in_tiles, merge=merge) for merge in MERGES},
    'sahi': by_sahi,
}


def evaluate(found: list[Detections], truth: COCO) -> dict[str, float]:
    """AP over all IoUs and at 0.5, and the share of the objects that are found at 0.5."""
    results = [
        dict(image_id=number, category_id=int(label) + 1, bbox=[*box[:2], *(box[2:] - box[:2])],
             score=float(score))
        for number, each in enumerate(found, 1)
        for box, score, label in zip(each.boxes, each.scores, each.labels)
    ]  # fmt: skip
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), 'bbox')
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0, 0]  # by IoU, recall and class
    return dict(
        AP=float(precision.mean()),
        AP_50=float(precision[0].mean()),
        recall=float(evaluation.eval['recall'][0, :, 0, 0].mean()),
    )


if __name__ == '__main__':
    run_tool(main, parse_args())
