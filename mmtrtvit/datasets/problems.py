"""Problems that a data set can have, and whether a training works in spite of them."""

from enum import Enum


class Problem(Enum):
    """What an inspection finds.

    An ``error`` makes a training fail or learn something wrong. A ``warning`` is for a look: the
    training works, with what MMDetection leaves out or with a metric that says less.
    """

    CONFIG = 'error', 'config and data do not fit'
    UNREADABLE_DATA = 'error', 'data set cannot be read'
    NO_IMAGE = 'error', 'no image in the split'
    NO_INSTANCE = 'error', 'no annotation of any class'
    MISSING_IMAGE = 'error', 'image file missing'
    UNREADABLE_IMAGE = 'error', 'image file damaged or not an image'
    IMAGE_SIZE = 'error', 'image of another size than its annotations say'
    INCOMPLETE = 'error', 'entry without something that MMDetection reads'
    UNKNOWN_CATEGORY = 'error', 'annotation of a category id that the file does not list'
    DUPLICATE_ID = 'error', 'id or category name given twice'
    VOID_BOX = 'error', 'box without area in its image, which MMDetection does not leave out'
    MISSING_MASK = 'error', 'annotation without a mask, which the config loads'
    MASK_SIZE = 'error', 'mask of another size than its image'
    MISSING_XML = 'error', 'XML file missing or damaged'
    MISSING_LABEL_MAP = 'error', 'label map missing'
    UNREADABLE_LABEL_MAP = 'error', 'label map damaged, or with more than one channel'
    LABEL_MAP_SIZE = 'error', 'label map of another size than its image'
    LABEL_VALUE = 'error', 'label map with values that stand for no class'

    EMPTY_IMAGE = 'warning', 'image without annotations'
    BORDER = 'warning', 'box that reaches over the border of its image'
    LOST_BOX = 'warning', 'box without area in its image, which MMDetection leaves out'
    BROKEN_MASK = 'warning', 'mask that is neither polygons nor RLE, which MMDetection leaves out'
    UNKNOWN_IMAGE = 'warning', 'annotation of an image id that the file does not list'
    OTHER_CATEGORY = 'warning', 'annotation of a category that the config does not name'
    ID_ZERO = 'warning', 'annotation id 0, which the COCO metric takes for a miss'
    ABSENT_CLASS = 'warning', 'class without an example in train'
    LEAK = 'warning', 'image that is in another split, too'

    def __init__(self, severity: str, text: str) -> None:
        self.severity = severity
        self.text = text
