"""A frozen model of timm that teaches: what it says of images."""

import importlib.util
import textwrap
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, did_you_mean
from ..weights.checkpoints import checkpoint_file, read_weights, state_dict_of
from ..weights.hub import TIMM, hub_file, repository_of_timm

SHOWN = 300  # characters of timm's reasons in a message
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


class Teacher:
    """A teacher that is part of no module, so that no checkpoint, copy or optimiser has it.

    Its weights are loaded when it is asked first. It is in eval mode and gets no gradient.

    Args:
        address: ``'timm://'`` and a name of timm.
        checkpoint: File or address of its weights; default: those of that name.
        options: Further arguments of ``timm.create_model``.
        dtype: One of :data:`DTYPES`.

    Attributes:
        width: Width of its pooled features.
        classes: Number of its classes, 0 if it has none.
        mean: By which its images are normalised, of numbers up to 1.
        std: As ``mean``.

    Raises:
        UserError: If timm is missing, or has no such model with features.
    """

    def __init__(
        self,
        address: str,
        *,
        checkpoint: str | None = None,
        options: dict | None = None,
        dtype: str = 'float32',
    ) -> None:
        if importlib.util.find_spec('timm') is None:
            raise UserError(f"{address} needs timm: pip install 'mmtrtvit[pretrain]'")
        if dtype not in DTYPES:
            raise UserError(f'teacher_dtype={dtype!r}: expected one of {", ".join(DTYPES)}')
        self.address, self.checkpoint, self.dtype = address, checkpoint, DTYPES[dtype]
        self.options = dict(options or {})
        self._check_name()
        model = self._create(torch.device('meta'))
        if not all(hasattr(model, name) for name in ('forward_features', 'forward_head')):
            raise UserError(f'{address} has no forward_features and forward_head: take another')
        self.width = getattr(model, 'head_hidden_size', model.num_features)
        self.classes = model.num_classes
        self.mean, self.std = (model.pretrained_cfg[key] for key in ('mean', 'std'))
        names = model.pretrained_cfg.get('classifier') or ()
        names = (names,) if isinstance(names, str) else names
        self._classifiers = tuple(f'{name}.' for name in names)
        self._model: nn.Module | None = None

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        return self  # copies of the pupil, such as averaged weights, share it

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits, ``(B, classes)``, and pooled features, ``(B, width)``.

        Args:
            images: ``(B, 3, H, W)``, normalised for the teacher.

        Raises:
            UserError: If the weights cannot be loaded, or the teacher cannot take these images.
        """
        model = self._loaded(images.device)
        try:
            maps = model.forward_features(images.to(self.dtype))
            logits, features = (model.forward_head(maps, pre_logits=each) for each in (False, True))
        except torch.cuda.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            height, width = images.shape[2:]
            raise UserError(
                f'{self.address} cannot take images of {height} x {width}: '
                f'{str(error).splitlines()[0]}. Say their size: teacher_options=dict(img_size=...)'
            ) from error
        if features.shape != (len(images), self.width):
            raise UserError(
                f'{self.address} gives features of the shape {tuple(features.shape)}, not '
                f'{(len(images), self.width)}: take a teacher that pools them'
            )
        return logits.float(), features.float()

    def _check_name(self) -> None:
        import timm

        if not self.address.startswith(TIMM):
            raise UserError(f'teacher={self.address!r}: expected timm:// and a name of timm')
        if self.checkpoint is None:
            repository_of_timm(self.address)
            return
        name = self.address.removeprefix(TIMM).partition('.')[0]
        if not timm.is_model(name):
            hint = did_you_mean(name, timm.list_models())
            raise UserError(f'{self.address}: timm {timm.__version__} has no {name}.{hint}')

    def _create(
        self, device: torch.device, source: Any = None, weights: dict[str, Tensor] | None = None
    ) -> nn.Module:
        """Makes the teacher, with these weights of ``source`` if there are any, all or nothing."""
        import timm

        name = self.address.removeprefix(TIMM)
        pretrained = {}
        if weights is not None:
            # the same number of classes, as timm passes over what does not fit a model of another
            overlay = dict(state_dict=weights, num_classes=self.classes)
            pretrained = dict(pretrained=True, pretrained_cfg_overlay=overlay)
        try:
            with device:
                return timm.create_model(name, **pretrained, **self.options)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            options = f' with teacher_options={self.options}' if self.options else ''
            origin = '' if source is None else f' from {source}'
            raise UserError(
                f'timm cannot make {name}{options}{origin}: '
                f'{textwrap.shorten(str(error), SHOWN, placeholder=" ...")}'
            ) from error

    def _loaded(self, device: torch.device) -> nn.Module:
        if self._model is None:
            path = hub_file(self.address) if self.checkpoint is None else self.checkpoint
            weights = state_dict_of(read_weights(checkpoint_file(path)))
            if not self.classes:
                weights = {
                    name: value
                    for name, value in weights.items()
                    if not name.startswith(self._classifiers)
                }
            self._model = (
                self._create(device, path, weights)
                .to(device, self.dtype)
                .eval()
                .requires_grad_(False)
            )
        return self._model
