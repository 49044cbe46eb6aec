"""Problems that a data set can have, and whether a training works in spite of them."""

from enum import Enum

LEAST_OBJECTS = 20  # of a class
LEAST_SIDE = 8  # pixels of an object after resizing: one cell of a map of stride 8
LEAST_PIXELS = LEAST_OBJECTS * 32**2  # of a class in label maps, after resizing


class Problem(Enum):
    """What an inspection finds.

    An ``error`` makes a training fail or learn something wrong. A ``warning`` is for a look: the
    training works, with what MMDetection leaves out or with a metric that says less. A ``hint``
    says what a model may find hard in sound data.
    """

    CONFIG = 'error', 'config and data do not fit'
    UNREADABLE_DATA = 'error', 'data set cannot be read'
    NO_IMAGE = 'error', 'no image in the split'
    NO_INSTANCE = 'error', 'no annotation of any class'
    IGNORED_CLASS = 'error', 'class whose objects are all marked to be ignored: it is not learnt'
    MISSING_IMAGE = 'error', 'image file missing'
    UNREADABLE_IMAGE = 'error', 'image file damaged or not an image'
    IMAGE_SIZE = 'error', 'image of another size than its annotations say'
    INCOMPLETE = 'error', 'entry without something that MMDetection reads'
    UNKNOWN_CATEGORY = 'error', 'annotation of a category id that the file does not list'
    LOST_OBJECTS = 'error', 'over a tenth of the objects left out, and so learnt as background'
    ID_KIND = 'error', 'id that is text in one place and a number in another'
    DUPLICATE_ID = 'error', 'id or category name given twice'
    LISTED_TWICE = 'error', 'image listed more than once, each time with a part of its objects'
    CORNERS = 'error', 'boxes of left, top, right, bottom instead of left, top, width, height'
    VOID_BOX = 'error', 'box without area in its image, which MMDetection does not leave out'
    MISSING_MASK = 'error', 'annotation without a mask, which the config loads'
    MASK_SIZE = 'error', 'mask of another size than its image'
    RLE = 'error', 'mask that is not the RLE of its image'
    EMPTY_MASK = 'error', 'mask without a pixel in its image'
    OTHER_PLACE = 'error', 'mask that lies elsewhere than its box'
    UNMEASURABLE_MASK = 'error', 'polygon without area, at which the COCO metric stops'
    MISSING_XML = 'error', 'XML file missing or damaged'
    MISSING_LABEL_MAP = 'error', 'label map missing'
    UNREADABLE_LABEL_MAP = 'error', 'label map damaged, or with more than one channel'
    LABEL_MAP_SIZE = 'error', 'label map of another size than its image'
    LABEL_VALUE = 'error', 'label map with values that stand for no class'
    BINARY = 'error', 'label maps of 0 and 255, where 255 is ignored'
    LABEL = 'error', 'image without a label that stands for a class'
    OTHER_SUFFIX = 'error', 'image with a label map that is not read, for its suffix'

    EMPTY_IMAGE = 'warning', 'image without annotations'
    BORDER = 'warning', 'box that reaches over the border of its image'
    LOST_BOX = 'warning', 'box without area in its image, which MMDetection leaves out'
    BROKEN_MASK = 'warning', 'mask that is neither polygons nor RLE, which MMDetection leaves out'
    PARTIAL_MASK = 'warning', 'mask that fills less than half of its box'
    OBJECT_TWICE = 'warning', 'object given twice, with the same box and category'
    MOSTLY_IGNORED = 'warning', 'class most of whose objects are marked to be ignored'
    UNKNOWN_IMAGE = 'warning', 'annotation of an image id that the file does not list'
    OTHER_CATEGORY = 'warning', 'annotation of a category that the config does not name'
    ID_ZERO = 'warning', 'annotation id 0, which the COCO metric takes for a miss'
    ABSENT_CLASS = 'warning', 'class without an example in train'
    HIDDEN = 'warning', 'image in a hidden folder'
    COPY = 'warning', 'image that is in its split twice'
    LEAK = 'warning', 'image that is in another split, too'
    NEAR_LEAK = 'warning', 'image that looks like one in another split'

    FEW_OBJECTS = 'hint', f'class with fewer than {LEAST_OBJECTS} objects'
    FEW_PIXELS = 'hint', f'class with fewer than {LEAST_PIXELS:,} pixels after resizing'
    SMALL_OBJECTS = 'hint', f'class with objects under {LEAST_SIDE} pixels after resizing'
    UNFIT_OBJECTS = 'hint', 'class with objects that no anchor fits after resizing'

    def __init__(self, severity: str, text: str) -> None:
        self.severity = severity
        self.text = text
