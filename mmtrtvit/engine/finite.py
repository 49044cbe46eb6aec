"""FiniteHook: stops a training before a loss or gradient that is not finite spoils its weights."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..errors import UserError
from ..weights.checkpoints import state_dict_of
from ..weights.finite import require_finite

SHOWN_IMAGES = 8


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops a training at the first loss or gradient that is NaN or infinite.

    The optimiser does not take that step, so the weights stay as they were. The error names the
    iteration, the first module whose output (or its gradient) is not finite, and the images of the
    batch. Checkpoints that are not finite are not written either. In mixed precision, steps that
    the loss scaler leaves out are its own matter.

    Args:
        max_skipped: How many such steps the training may leave out before it stops. 0 stops at
            the first.
    """

    def __init__(self, max_skipped: int = 0) -> None:
        if not isinstance(max_skipped, int) or max_skipped < 0:
            raise UserError(
                f'default_hooks.finite.max_skipped is {max_skipped!r}: expected a whole number of '
                '0 or more.'
            )
        self.max_skipped = max_skipped
        self.skipped = 0
        self._batch: Any = None
        self._left_out = False  # the step of this iteration
        self._buffers: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Has the optimisers ask before each step."""
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if hasattr(wrapper, 'optim_wrappers') else [wrapper]
        for each in wrappers:
            optimizer = getattr(each, 'optimizer', None)
            if isinstance(optimizer, torch.optim.Optimizer):  # not one of DeepSpeed's
                optimizer.register_step_pre_hook(
                    lambda optimizer, args, kwargs: self._before_step(runner, optimizer)
                )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remembers the batch, and BatchNorm's statistics if a step may be left out."""
        self._batch, self._left_out = data_batch, False
        if self.skipped < self.max_skipped:
            self._buffers = {name: b.clone() for name, b in runner.model.named_buffers()}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Refuses a loss that is not finite although its gradient is."""
        self._batch = None
        losses = _numbers(outputs)
        finite = math.isfinite(losses.get('loss', 0.0))
        if finite or self._left_out or _has_scaler(runner):
            return
        self._refuse(runner, f'the loss is {losses["loss"]}', data_batch, losses)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses to write weights that are not finite, so that the ones before stay."""
        require_finite(
            state_dict_of(checkpoint), f'iteration {runner.iter}: no checkpoint is written'
        )

    def _before_step(self, runner: Runner, optimizer: torch.optim.Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        if not _all_finite([p.grad for p in parameters if p.grad is not None]):
            self._refuse(runner, 'the gradient is not finite', self._batch)
            for parameter in parameters:
                parameter.grad = None  # this step changes nothing

    def _refuse(
        self, runner: Runner, what: str, batch: Any, losses: Mapping[str, float] | None = None
    ) -> None:
        images = ', '.join(_images(batch)[:SHOWN_IMAGES]) or 'not named by the data set'
        where = f'iteration {runner.iter + 1}: {what}'
        if self.skipped < self.max_skipped:
            self.skipped += 1
            self._left_out = True
            for name, buffer in runner.model.named_buffers():
                buffer.copy_(self._buffers[name])
            runner.logger.warning(
                f'{where}; the step is left out ({self.skipped} of at most {self.max_skipped}). '
                f'Images of the batch: {images}'
            )
            return
        wrong = ', '.join(n for n, value in (losses or {}).items() if not math.isfinite(value))
        parts = f' ({wrong})' if wrong else ''
        raise UserError(
            f'{where}{parts}. {find_origin(runner, batch)}\n'
            f'Images of the batch: {images}\n'
            'The weights and the checkpoints are as they were before. Lower the learning rate '
            '(optim_wrapper.optimizer.lr), clip the gradients '
            '(optim_wrapper.clip_grad=dict(max_norm=1)), or look at these images with '
            'tools/check_data.py. default_hooks.finite.max_skipped=N leaves out up to N such steps.'
        )


def find_origin(runner: Runner, batch: Any) -> str:
    """Computes a batch once more and says where its numbers stop being finite.

    Args:
        runner: Of a training that is about to stop: gradients and BatchNorm statistics change.
        batch: As the data loader gave it.

    Returns:
        A sentence with the first module, in the order of computing, whose output is not finite,
        else with the first one, backwards, at whose output the gradient is not.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    with _watching(model) as (outputs, gradients), torch.enable_grad():
        data = model.data_preprocessor(batch, True)
        losses = model(**data, mode='loss') if isinstance(data, dict) else model(*data, mode='loss')
        loss, _ = model.parse_losses(losses)
        if not outputs and loss.requires_grad:
            loss.backward()
    if outputs:
        return f'The first output that is not finite is that of {outputs[0]} ({kinds[outputs[0]]}).'
    if gradients:
        return (
            f'All outputs are finite; the gradient stops being so at the output of {gradients[0]} '
            f'({kinds[gradients[0]]}).'
        )
    if not loss.isfinite():
        return 'All outputs of the modules are finite; the loss functions make the rest.'
    return 'Computed once more, the same batch stays finite: it hangs on random numbers.'


@contextmanager
def _watching(model: nn.Module) -> Iterator[tuple[list[str], list[str]]]:
    """Collects modules with non-finite outputs, and with non-finite gradients at their outputs."""
    outputs: list[str] = []
    gradients: list[str] = []

    def watch(name: str) -> Any:
        def check_gradient(gradient: Tensor) -> None:
            if not gradient.isfinite().all():
                gradients.append(name)

        def check(module: nn.Module, args: Any, output: Any) -> None:
            for tensor in _tensors(output):
                if not tensor.isfinite().all():
                    outputs.append(name)
                elif tensor.requires_grad:
                    tensor.register_hook(check_gradient)

        return check

    handles = [
        module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name
    ]
    try:
        yield outputs, gradients
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor) and output.is_floating_point():
        yield output
    elif isinstance(output, Mapping):
        yield from _tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)


def _all_finite(tensors: list[Tensor]) -> bool:
    """Whether all are finite: one number for each tensor, one look at them."""
    if not tensors:
        return True
    largest = [torch.linalg.vector_norm(tensor, math.inf) for tensor in tensors]
    device = largest[0].device
    return bool(torch.stack([value.float().to(device) for value in largest]).isfinite().all())


def _numbers(outputs: Any) -> dict[str, float]:
    """The losses of an iteration by name."""
    items = outputs.items() if isinstance(outputs, Mapping) else ()
    return {name: float(torch.as_tensor(value).detach()) for name, value in items if 'loss' in name}


def _has_scaler(runner: Runner) -> bool:
    scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _images(batch: Any) -> list[str]:
    """Paths of the images of a batch, as far as its data samples know them."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    paths = (getattr(sample, 'img_path', None) for sample in samples or ())
    return [str(path) for path in paths if path]
