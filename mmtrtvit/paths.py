"""Paths of the configs and tools of installed MM packages, this one included.

They lie in ``<package>/.mim``, where MIM and MMEngine look, or beside the package in a checkout.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .errors import UserError, did_you_mean


def config_path(name: str) -> str:
    """Returns the absolute path of a config that an installed package brings along.

    Made for a config of another project. MMEngine evaluates ``_base_`` before everything else, so
    this works with the tools of every MM package, where an import statement would not::

        _base_ = __import__('mmtrtvit').config_path('retinanet_trtvit_b.py')

    Args:
        name: Path below ``configs`` of mmtrtvit, or of the package that it names first, as in
            ``'mmdet::atss/atss_r50_fpn_1x_coco.py'``.

    Raises:
        UserError: If the package or the config is not there.
    """
    return _path('configs', name)


def tool_path(name: str) -> str:
    """Returns the absolute path of a tool that an installed package brings along.

    Args:
        name: Path below ``tools``, as ``'train.py'`` or ``'mmdet::analysis_tools/get_flops.py'``.

    Raises:
        UserError: If the package or the tool is not there.
    """
    return _path('tools', name)


def config_names() -> list[str]:
    """Returns the names of mmtrtvit's configs for :func:`config_path`, without those in _base_."""
    return [name for name in _names(folder('configs')) if '_base_/' not in name]


def folder(kind: str, package: str = 'mmtrtvit') -> Path:
    """Returns the folder of an installed package's ``'configs'`` or ``'tools'``.

    Raises:
        UserError: If the package is not installed, or was installed without them.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f'the package {package} is not installed, so there are no {kind} of it.')
    root = Path(spec.submodule_search_locations[0])
    for path in (root / '.mim' / kind, root.parent / kind):
        if path.is_dir():
            return path.resolve()
    raise UserError(f'the package {package} in {root} came without its {kind}.')


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """Returns the ends of paths that tell them apart, with as many folders for each as it takes."""
    for length in range(1, max(len(path.parts) for path in paths)):
        names = ['/'.join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(map(str, paths))


def _path(kind: str, name: str) -> str:
    package, _, inner = name.rpartition('::')
    root = folder(kind, package or 'mmtrtvit')
    path = root / inner
    if not path.is_file():
        raise UserError(f'no file {inner} in {root}.{did_you_mean(inner, _names(root))}')
    return str(path)


def _names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob('*.py'))
