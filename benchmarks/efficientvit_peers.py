"""EfficientViT of other projects, with the weights of ours."""

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT
from mmtrtvit.weights.layouts import official_name, timm_features_name

SOURCE = 'EfficientViT/downstream/efficientvit.py'


def build_timm(ours: EfficientViT, arch: str) -> nn.Module:
    """Timm's model as it is used for detection: three maps, windows of 7 in all stages."""
    import timm

    model = timm.create_model(f'efficientvit_{arch}', img_size=448, features_only=True)
    weights = {timm_features_name(name): value for name, value in ours.state_dict().items()}
    model.load_state_dict(weights)
    return model


def build_official(ours: EfficientViT, arch: str, checkout: Path) -> nn.Module:
    """The backbone of the authors' detectors, in eval mode, its BatchNorm folded by its own code.

    Args:
        ours: Where the weights come from.
        arch: 'm0' to 'm5'.
        checkout: A checkout of microsoft/Cream.

    Raises:
        UserError: If the checkout does not have the backbone.
    """
    code = _load(checkout)
    settings = dict(getattr(code, f'EfficientViT_{arch}'))
    settings['kernels'] = EfficientViT.arch_settings[arch]['kernels']  # M0's are not its weights'
    model = code.EfficientViT(**settings)
    weights = {official_name(name): value for name, value in ours.state_dict().items()}
    left = model.load_state_dict(weights, strict=False)
    if left.unexpected_keys or not all('bias_idxs' in name for name in left.missing_keys):
        raise UserError(f'{checkout / SOURCE} has other weights than the published code: {left}')
    model.eval()
    code.replace_batchnorm(model)
    return model


def _load(checkout: Path) -> types.ModuleType:
    path = checkout / SOURCE
    if not path.exists():
        raise UserError(
            f'{path} does not exist: give a checkout of https://github.com/microsoft/Cream'
        )
    spec = importlib.util.spec_from_file_location('official_efficientvit', path)
    code = importlib.util.module_from_spec(spec)
    with _stand_ins():
        spec.loader.exec_module(code)
    return code


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Makes importable, within the block, what the official file imports but does not compute with.

    It imports MMDetection 2 and its own code for checkpoints.
    """

    class Registry:
        def register_module(self):
            return lambda builder: builder

    names = {
        'mmcv_custom': dict.fromkeys(('load_checkpoint', '_load_checkpoint', 'load_state_dict')),
        'mmdet': {},
        'mmdet.models': {},
        'mmdet.models.builder': dict(BACKBONES=Registry()),
        'mmdet.utils': dict(get_root_logger=None),
    }
    before = {name: sys.modules.get(name) for name in names}
    for name, content in names.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
