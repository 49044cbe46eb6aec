"""MMDetection's CocoDataset with labels by the names of the classes.

MMDetection numbers labels in the order of ``categories`` in the annotation file, whatever the
order of the config's classes. Where the files of two splits have other orders, or a file lacks a
class or has one twice, labels mean one class in a split and another one elsewhere. Here label ``i``
is the class ``metainfo['classes'][i]``, in every file.
"""

from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS

from .coco_file import merge_categories, read_coco


class CocoByName(COCO):
    """An annotation file whose categories are found by name.

    Categories that share a name are one, and a name that the file lacks gets a category without
    annotations. The file may be in any encoding that :func:`~.coco_file.read_coco` reads.

    Args:
        annotation_file: The file; none for an empty one.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        super().__init__()
        if annotation_file is not None:
            self.dataset = read_coco(annotation_file)
            merge_categories(self.dataset)
            self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self,
        cat_names: str | Sequence[str] = (),
        sup_names: str | Sequence[str] = (),
        cat_ids: int | Sequence[int] = (),
    ) -> list:
        """Returns the ids of categories: one for each name and in their order, if names are given.

        Args:
            cat_names: Names of categories.
            sup_names: Names of their supercategories, as pycocotools takes them.
            cat_ids: Ids, as pycocotools takes them.
        """
        if sup_names or cat_ids or not cat_names:
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        names = [cat_names] if isinstance(cat_names, str) else cat_names
        ids = {category['name']: category['id'] for category in self.dataset['categories']}
        return [ids[name] if name in ids else self._add(name) for name in names]

    def renumber(self, names: Sequence[str]) -> None:
        """Gives the categories of these names the ids 1, 2, ... in that order, others higher ones.

        Args:
            names: Names of categories.
        """
        self.get_cat_ids(names)
        place = {name: number for number, name in enumerate(names)}
        ordered = sorted(
            self.dataset['categories'], key=lambda each: place.get(each['name'], len(place))
        )
        new = {category['id']: number for number, category in enumerate(ordered, 1)}
        for category in ordered:
            category['id'] = new[category['id']]
        for annotation in self.dataset['annotations']:
            key = annotation['category_id']
            annotation['category_id'] = new.get(key, f'unknown {key}')
        self.dataset['categories'] = ordered
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def _add(self, name: str) -> int:
        key = 1 + int(max((key for key in self.cats if not isinstance(key, str)), default=0))
        category = dict(id=key, name=name)
        self.dataset['categories'].append(category)
        self.cats[key] = category
        return key


@DATASETS.register_module()
class CocoDatasetByName(CocoDataset):
    """CocoDataset of mmdet whose label ``i`` is the ``i``-th of its classes, in every file."""

    COCOAPI = CocoByName
