"""Labels as other systems write them."""

import json
from pathlib import Path


def label_files(images: list[Path], width: int, height: int, classes: list[str]) -> dict[str, str]:
    """One box on each image, as other systems write it: texts by the paths of their files."""
    box = width // 4, height // 4, width // 2, height // 2
    x1, y1, x2, y2 = box
    middle = '0.375 0.375 0.25 0.25'
    files, tags, tasks = {}, [], []
    for index, path in enumerate(images):
        name, label = path.name, classes[index % len(classes)]
        shape = dict(label=label, shape_type='rectangle', points=[[x1, y1], [x2, y2]])
        labelme = dict(imagePath=name, imageWidth=width, imageHeight=height, shapes=[shape])
        files[f'cells/{path.stem}.json'] = json.dumps(labelme)
        for split in ('train', 'val'):
            files[f'data/labels/{split}/{path.stem}.txt'] = f'{index % len(classes)} {middle}\n'
        sides = ''.join(f'<{k}>{v}</{k}>' for k, v in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
        files[f'voc/Annotations/{path.stem}.xml'] = (
            f'<annotation><filename>{name}</filename><size><width>{width}</width>'
            f'<height>{height}</height><depth>3</depth></size><object><name>{label}</name>'
            f'<bndbox>{sides}</bndbox></object></annotation>'
        )
        tags.append(
            f'<image id="{index}" name="{name}" width="{width}" height="{height}">'
            f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/></image>'
        )
        value = dict(x=25, y=25, width=25, height=25, rectanglelabels=[label])
        result = dict(
            type='rectanglelabels', value=value, original_width=width, original_height=height
        )
        tasks.append(
            dict(id=index, data=dict(image=f'/{name}'), annotations=[dict(result=[result])])
        )
    names = ''.join(f'{path.stem}\n' for path in images)
    return {
        **files,
        'data/data.yaml': f'names: {json.dumps(classes)}\ntrain: images/train\nval: images/val\n',
        'voc/ImageSets/Main/train.txt': names,
        'voc/ImageSets/Main/val.txt': names,
        'cvat/annotations.xml': f'<annotations><version>1.1</version>{"".join(tags)}</annotations>',
        'label-studio/export.json': json.dumps(tasks),
    }
