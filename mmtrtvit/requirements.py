"""What needs a newer PyTorch than the oldest that the package runs with."""

import torch
from mmengine.utils import digit_version

from .errors import UserError


def require_torch(least: str, what: str) -> None:
    """Refuses what an older PyTorch than ``least`` cannot do, or does wrongly.

    Raises:
        UserError: If the installed one is older.
    """
    if digit_version(torch.__version__) < digit_version(least):
        raise UserError(f'{what} needs PyTorch {least} or newer; this is {torch.__version__}')
