"""Networks by name, without weights and data: what :mod:`.cost` counts."""

import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..engine.config import read_config
from ..engine.hosts import import_host, without_onedl_notice
from ..engine.mistakes import explaining
from ..errors import UserError, did_you_mean, listed
from ..models import EfficientViT, TRTViT, fuse
from ..paths import config_names, config_path

TIMM = 'timm:'
BACKBONES: dict[str, Callable[[], nn.Module]] = {
    f'{prefix}{arch}': partial(family, arch)
    for prefix, family in (('trtvit_', TRTViT), ('efficientvit_', EfficientViT))
    for arch in family.arch_settings
}
SIZES = {'mmdet': (800, 1280), 'mmseg': (512, 2048)}  # those of published numbers
SIZE = 224, 224  # of backbones and classifiers
PROPOSALS, MASKS = 1000, 100  # regions of an image that a two-stage detector looks at

Network = tuple[nn.Module, tuple[int, int], Callable[[Tensor], object]]


def build_network(name: str, device: str = 'meta', *, fused: bool = False) -> Network:
    """Builds a network; on the meta device it has shapes and no numbers.

    Args:
        name: A config (a file, or the name of one of ours), a backbone such as ``trtvit_b`` or
            ``efficientvit_m4``, or ``timm:NAME`` for a model of timm.
        device: Where it is built. Anywhere but on the meta device its weights are random.
        fused: Whether it is the copy for inference.

    Returns:
        The network in eval mode, the height and width that its published numbers are told for, and
        a function that runs it on images ``(B, 3, H, W)`` up to the outputs of its heads. Of a
        two-stage detector the heads get :data:`PROPOSALS` and :data:`MASKS` regions an image,
        without their pooling.

    Raises:
        UserError: If there is no such network, or it cannot be built.
    """
    shape, config = SIZE, None
    if name.startswith(TIMM):
        model = _of_timm(name.removeprefix(TIMM), device)
    elif name in BACKBONES:
        with torch.device(device):
            model = BACKBONES[name]().eval()
    else:
        config = read_config(_config_file(name))
        model = _of_config(config, device)
        shape = SIZES.get(config.get('default_scope'), SIZE)
    model = fuse(model) if fused else model
    return model, shape, model if config is None else partial(_run, model)


def _config_file(name: str) -> str:
    if Path(name).is_file():
        return name
    ours = config_names()
    inner = name if name.endswith('.py') else f'{name}.py'
    if inner in ours:
        return config_path(inner)
    known = [*BACKBONES, *(each.removesuffix('.py') for each in ours)]
    raise UserError(
        f'{name} is neither a config nor a backbone.{did_you_mean(name, known)} Expected a file, a '
        f'name as `mmtrtvit` lists them, a backbone ({listed(BACKBONES, len(BACKBONES))}) or '
        f'{TIMM}NAME.'
    )


def _of_timm(name: str, device: str) -> nn.Module:
    if importlib.util.find_spec('timm') is None:
        raise UserError(f"{TIMM}{name} needs timm: pip install 'mmtrtvit[timm]'")
    import timm

    from .. import timm_models  # noqa: F401  # adds ours

    if not timm.is_model(name):
        raise UserError(f'timm has no model {name}.{did_you_mean(name, timm.list_models())}')
    with torch.device(device):
        return timm.create_model(name).eval()


def _of_config(config: Config, device: str) -> nn.Module:
    scope = config.get('default_scope')
    if not isinstance(config.get('model'), dict):
        raise UserError(f'{config.filename} has no model.')
    import_host(scope)
    with (
        DefaultScope.overwrite_default_scope(scope),
        without_onedl_notice(),
        warnings.catch_warnings(),
        explaining(config),
        torch.device(device),
    ):
        warnings.simplefilter('ignore')  # about losses
        try:
            return revert_sync_batchnorm(MODELS.build(config.model)).eval()
        except (NotImplementedError, RuntimeError) as error:
            if device != 'meta':
                raise
            raise UserError(
                f'{config.filename}: {config.model.get("type")} cannot be built without numbers '
                f"(on PyTorch's meta device), so it cannot be counted: {str(error).splitlines()[0]}"
            ) from error


def _run(model: nn.Module, images: Tensor) -> None:
    """Runs a host's model up to the outputs of its heads."""
    if not hasattr(model, 'extract_feat'):
        raise UserError(f'{type(model).__name__} has no extract_feat, so its parts cannot be run.')
    maps = model.extract_feat(images)
    for name in ('head', 'decode_head', 'bbox_head', 'rpn_head'):
        if getattr(model, name, None) is not None:
            getattr(model, name)(maps)
    if not hasattr(model, 'roi_head'):
        return
    heads = model.roi_head
    regions = [(heads.bbox_head, heads.bbox_roi_extractor, PROPOSALS)]
    if heads.with_mask:
        regions.append((heads.mask_head, heads.mask_roi_extractor, MASKS))
    for head, extractor, count in regions:
        rows, columns = extractor.roi_layers[0].output_size
        shape = len(images) * count, extractor.out_channels, rows, columns
        head(torch.zeros(shape, device=images.device))
