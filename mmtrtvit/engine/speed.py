"""Hooks that make runs faster and change their numbers only by rounding."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..environment import require_torch
from ..errors import UserError
from ..glibc import keep_freed
from ..models.layers import channels_last


@HOOKS.register_module()
class SpeedHook(Hook):
    """Prepares a model before it is trained, validated or tested.

    On the CPU the process also keeps freed memory for the next iteration (:mod:`..glibc`).

    Args:
        channels_last: Whether weights and images, and with them the feature maps, are in the
            memory format ``channels_last``, in which oneDNN and cuDNN are fastest.
        compile: Parts of the model that go through ``torch.compile`` for any size of image, such
            as ``('backbone', 'neck')``. Leave out heads: post-processing depends on what is found.

    Raises:
        UserError: If the model has no such part, or PyTorch is older than 2.6: compiled by 2.4.1,
            a backbone returns too few feature maps.
    """

    def __init__(self, channels_last: bool = False, compile: Sequence[str] = ()) -> None:
        if compile:
            require_torch('2.6', 'default_hooks.speed.compile')
        self.channels_last = channels_last
        self.compile = (compile,) if isinstance(compile, str) else tuple(compile)

    def before_run(self, runner: Runner) -> None:
        """Converts the memory format of the model and compiles its parts."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if all(each.is_cpu for each in model.parameters()):
            keep_freed()
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
            model.register_forward_pre_hook(_with_channels_last, with_kwargs=True)
        parts = dict(model.named_children())
        for name in self.compile:
            if name not in parts:
                raise UserError(
                    f'default_hooks.speed.compile: {type(model).__name__} has no part {name!r}; '
                    f'it has {", ".join(parts)}'
                )
            parts[name].compile(dynamic=True)


def _with_channels_last(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def convert(value: Any) -> Any:
        return channels_last(value) if isinstance(value, Tensor) and value.dim() == 4 else value

    return tuple(map(convert, args)), {name: convert(value) for name, value in kwargs.items()}


@HOOKS.register_module()
class FuseHook(Hook):
    """Fuses the model when its weights are those to test: loaded, and averaged if the run does.

    Args:
        precision: What it computes in, see :func:`.in_precision`.
    """

    priority = 'LOWEST'  # after EMAHook

    def __init__(self, precision: str = 'fp32') -> None:
        self.precision = precision

    def before_test_epoch(self, runner: Runner) -> None:
        """Puts the fused copy in the place of the model."""
        from .precision import in_precision

        if is_model_wrapper(runner.model):
            runner.model.module = in_precision(runner.model.module, self.precision)
        else:
            runner.model = in_precision(runner.model, self.precision)
