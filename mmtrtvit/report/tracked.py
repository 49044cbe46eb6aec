"""Where the trackers of a training have it, as the training noted beside its log."""

from ..engine.trackers.tracking import RECORD
from ..errors import UserError
from ..files import read_json
from .blocks import Block, Code, Links, Section, Table
from .run import Run


def show_trackers(run: Run) -> list[Section]:
    """Returns the runs of trackers that belong to a work dir, those of resumed trainings, too."""
    rows, addresses, commands = [], {}, []
    for file in sorted(run.folder.glob(f'*/{RECORD}')):
        try:
            places = read_json(file)
            for name, place in places.items():
                started = f'{name}, {file.parent.name}'
                rows.append([started, *(str(place.get(key, '')) for key in ('run', 'folder'))])
                if str(place.get('url', '')).startswith(('http://', 'https://')):
                    addresses[started] = place['url']
                if place.get('look'):
                    commands.append(str(place['look']))
        except (OSError, UserError, ValueError, AttributeError):
            continue
    blocks: list[Block] = []
    if rows:
        blocks.append(Table([['tracker', 'run', 'folder'], *rows], words=True))
    if addresses:
        blocks.append(Links(addresses))
    if commands:
        blocks.append(Code('\n'.join(dict.fromkeys(commands)), 'look at it'))
    return [Section('trackers', 'Trackers', blocks)] if blocks else []
