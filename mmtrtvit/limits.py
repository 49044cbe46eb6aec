"""Limits of input from outside: larger input is refused by name."""

MAX_PIXELS = 1 << 29  # of an image: 537 megapixels, 1.6 GB in memory
MAX_COORDINATE = 1e6  # of a polygon or box, in pixels from the image's corner
MAX_SIDE = 32768  # of an image after Resize or Pad, in pixels
MAX_YAML_VALUES = 1_000_000  # of a document, each alias written out
MAX_YAML_DEPTH = 100  # of values within values
MAX_OUTLINE = 4e6  # of a polygon, in pixels: pycocotools takes 80 bytes for each
