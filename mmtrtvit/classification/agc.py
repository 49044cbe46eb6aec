"""AGCHook: adaptive gradient clipping, with timm's function (arXiv 2102.06171)."""

import importlib.util
from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import UserError


@HOOKS.register_module()
class AGCHook(Hook):
    """Clips the gradient of each unit to a share of the unit's own norm before each step.

    Args:
        clip_factor: Largest norm of a unit's gradient over that of its weights.
        exclude: Modules that are not clipped, such as a classifier's last layer, as paths in the
            model.

    Raises:
        UserError: If timm is missing, the model has no such part, or the optimiser leaves it to its
            kernels to unscale gradients.
    """

    def __init__(self, clip_factor: float = 0.02, exclude: Sequence[str] = ()) -> None:
        if importlib.util.find_spec('timm') is None:
            raise UserError(
                "AGCHook clips with timm, which is missing: pip install 'mmtrtvit[pretrain]'"
            )
        if not isinstance(clip_factor, int | float) or clip_factor <= 0:
            raise UserError(f'AGCHook: clip_factor={clip_factor!r}, expected a number above 0.')
        self.clip_factor = clip_factor
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)

    def before_train(self, runner: Runner) -> None:
        """Has the optimiser clip before each step."""
        from timm.utils.agc import adaptive_clip_grad

        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        named = dict(model.named_parameters())
        left_out = {
            part: {name for name in named if name.startswith(f'{part}.')} for part in self.exclude
        }
        if missing := [part for part, names in left_out.items() if not names]:
            parts = ', '.join(name for name, _ in model.named_children())
            raise UserError(
                f'AGCHook: exclude names {", ".join(missing)}, where {type(model).__name__} has no '
                f'parameters; its parts are {parts}.'
            )
        clipped = [named[name] for name in named if name not in set().union(*left_out.values())]

        def clip(optimizer: torch.optim.Optimizer, *_: object) -> None:
            if getattr(optimizer, 'grad_scale', None) is not None:
                raise UserError(
                    'AGCHook: a fused optimiser unscales the gradients of mixed precision too '
                    'late. Set --cfg-options optim_wrapper.optimizer.fused=False'
                )
            adaptive_clip_grad(clipped, self.clip_factor)

        runner.optim_wrapper.optimizer.register_step_pre_hook(clip)
