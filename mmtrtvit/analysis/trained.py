"""A trained EfficientViT inside a model: what the analyses of its weights need."""

from pathlib import Path

from mmengine.config import Config

from ..engine.predictor import Predictor, load
from ..errors import UserError
from ..models import EfficientViT


def load_trained(
    config: Config, checkpoint: str | Path, device: str | None = None
) -> tuple[Predictor, EfficientViT]:
    """Loads a model whose backbone is a trained EfficientViT.

    Args:
        config: The model's config, as :func:`~mmtrtvit.engine.config.read_config` returns it.
        checkpoint: Weights of exactly this model, or the work dir of a run.
        device: As in :func:`~mmtrtvit.engine.predictor.load`.

    Returns:
        The model, and its backbone.

    Raises:
        UserError: If something cannot be used, the backbone is another one, or it has no training
            behind it.
    """
    kind = (config.get('model') or {}).get('backbone', {}).get('type')
    if kind != EfficientViT.__name__:
        raise UserError(
            f'{config.filename}: model.backbone is {kind or "missing"}, expected EfficientViT, '
            'whose heads and channels this analysis knows.'
        )
    predictor = load(config, checkpoint, device)
    backbone = predictor.model.backbone
    tables = [value for name, value in backbone.named_parameters() if name.endswith('bias_table')]
    if not any(table.any() for table in tables):
        raise UserError(
            f'{checkpoint}: the bias tables of attention are all zero, as before any training. '
            'Random weights say nothing here (all heads look alike, above 0.99): give trained ones.'
        )
    return predictor, backbone
