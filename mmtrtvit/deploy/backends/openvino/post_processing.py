"""Post-processing in single precision where OpenVINO computes the network in BF16 or FP16.

By itself OpenVINO leaves only what follows the last layer of a network in single precision. The
boxes of a two-stage detector, which lie between layers, would be rounded to eight bits: by up to
four pixels at the right edge of an image of 1344.
"""

from pathlib import Path
from xml.etree import ElementTree

from ...graphs.nodes import module_of

# OpenVINO's mark of what must not be converted.
PRECISE = dict(name='precise', version='0')
# No operators, and what pools feature maps of the network at boxes, which it takes as they are.
UNMARKED = 'Parameter', 'Result', 'ROIAlign'


def keep_post_processing(path: Path) -> None:
    """Marks the operators of post-processing, which belong to no module, in an ``.xml`` file.

    Constants that they take are marked as well.
    """
    tree = ElementTree.parse(path)
    layers = {layer.attrib['id']: layer for layer in tree.iterfind('layers/layer')}
    marked = {number for number, layer in layers.items() if _of_post_processing(layer)}
    for edge in tree.iterfind('edges/edge'):
        source = edge.attrib['from-layer']
        if edge.get('to-layer') in marked and layers[source].get('type') == 'Const':
            marked.add(source)
    for number in marked:
        _mark(layers[number])
    tree.write(path, encoding='utf-8', xml_declaration=True)


def _of_post_processing(layer: ElementTree.Element) -> bool:
    name = layer.attrib['name']
    return name.startswith('/') and not module_of(name) and layer.attrib['type'] not in UNMARKED


def _mark(layer: ElementTree.Element) -> None:
    info = layer.find('rt_info')
    if info is None:
        info = ElementTree.Element('rt_info')
        layer.insert(int(layer.find('data') is not None), info)
    ElementTree.SubElement(info, 'attribute', PRECISE)
