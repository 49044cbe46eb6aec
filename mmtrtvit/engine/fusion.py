"""A hook that evaluates the fused copy of a model instead of the model."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..models import fuse


@HOOKS.register_module()
class FuseHook(Hook):
    """Fuses the model when its weights are those to test: loaded, and averaged if the run does."""

    priority = 'LOWEST'  # behind EMAHook

    def before_test_epoch(self, runner: Runner) -> None:
        if is_model_wrapper(runner.model):
            runner.model.module = fuse(runner.model.module)
        else:
            runner.model = fuse(runner.model)
