"""Pretrained weights: adapting and checking them when a backbone loads them."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn

from ..errors import UserError
from .checkpoints import state_dict_of
from .layouts import OURS, layout_of
from .matching import fit_weights


def adapt_weights(
    backbone: nn.Module, state_dict: dict[str, Any], *, prefix: str, initialising: bool
) -> None:
    """Turns weights in any layout into those of the backbone that is about to load them, in place.

    Weights by our names stay as they are unless they initialise the backbone. What becomes of the
    others is logged.

    Args:
        backbone: The backbone.
        state_dict: What its ``_load_from_state_dict`` is given.
        prefix: What comes before the backbone's names in it.
        initialising: Whether the weights are those of ``init_cfg``.

    Raises:
        UserError: If anything but the classifier is left over. By our names alone, weights may be
            missing, as they are after a conversion with ``allow_partial``.
    """
    if not prefix and isinstance(state_dict.get('model'), Mapping):  # MMEngine did not look there
        weights = state_dict_of(state_dict)
        state_dict.clear()
        state_dict.update(weights)
    names = [key for key in state_dict if key.startswith(prefix)]
    layout = layout_of(key.removeprefix(prefix) for key in names)
    if layout == OURS and not initialising:
        return
    weights = {key.removeprefix(prefix): state_dict.pop(key) for key in names}
    kind = type(backbone).__name__
    fitted, report = fit_weights(weights, backbone.state_dict())
    if not report.share:
        raise UserError(none_known(weights, kind))
    print_log(f'Weights of {kind} in the layout {layout}:\n{report.table()}', 'current')
    if report.unexpected or report.reshaped or (report.missing and layout != OURS):
        raise UserError(
            f'the weights do not fit {kind}:\n{report}\nTake those of the same variant (arch). '
            'To load what fits, convert them first: tools/convert_weights.py --allow-partial'
        )
    if report.missing:
        print_log(f'{kind} starts in part untrained:\n{report}', 'current', logging.WARNING)
    state_dict.update({prefix + key: value for key, value in fitted.items()})


def none_known(names: Collection[str], kind: str) -> str:
    """Returns what to tell a user whose weights are not a backbone's by any name."""
    if any(name.startswith('backbone.') for name in names):
        advice = "They belong to a whole model: add prefix='backbone.' to init_cfg."
    else:
        advice = "Known are the names of mmtrtvit, microsoft/Cream and timm's efficientvit_m*."
    return f'none of the weights is one of {kind}: {", ".join([*names][:3])}, ... {advice}'
