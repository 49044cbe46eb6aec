"""Numbers that are not finite among weights: finding and refusing them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import UserError


def non_finite(weights: Mapping[str, Any]) -> list[str]:
    """Returns the names of the tensors that hold NaN or infinity."""
    return [
        name
        for name, value in weights.items()
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all()
    ]


def require_finite(weights: Mapping[str, Any], source: str) -> None:
    """Refuses weights that hold NaN or infinity, as those of a training that diverged do.

    Args:
        weights: Tensors by name.
        source: What the message calls them.

    Raises:
        UserError: With how many tensors are affected and the names of the first ones.
    """
    names = non_finite(weights)
    if names:
        shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
        raise UserError(
            f'{source}: {len(names)} of {len(weights)} tensors hold NaN or infinity ({shown}). The '
            'training diverged before they were saved; take an earlier checkpoint.'
        )
