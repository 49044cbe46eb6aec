"""DistilledClassifier: a classifier that learns what a teacher of timm says of the same images.

The losses are those of timm's tasks (``timm.task``): the divergence of the logits, and the mean
squared error of the pooled features, which a linear layer brings to the teacher's width. Needs
mmpretrain and timm.
"""

from collections.abc import Callable
from typing import Any

from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from ..errors import UserError
from .teacher import Teacher

Ask = Callable[[Tensor], tuple[Tensor, Tensor]]  # images to logits and pooled features


@MODELS.register_module()
class DistilledClassifier(ImageClassifier):
    """An ``ImageClassifier`` with a teacher, which its weights do not contain.

    The teacher sees the images that the classifier sees, normalised in its own way. Predictions ask
    it nothing, and load nothing of it.

    Args:
        teacher: ``'timm://'`` and a name of timm.
        teacher_checkpoint: File or address of its weights; default: those of that name.
        teacher_options: Further arguments of ``timm.create_model``, e.g. ``img_size``.
        teacher_dtype: ``'float32'``, ``'float16'`` or ``'bfloat16'``.
        label_weight: Weight of the loss by labels; with 0, images need none.
        logit_weight: Weight of the logits' loss; the teacher must have as many classes.
        feature_weight: Weight of the features' loss.
        temperature: What logits are divided by before they are compared.
        options: Of ``ImageClassifier``.

    Raises:
        UserError: If timm is missing or has no such teacher, or if the teacher cannot teach what a
            weight asks for.
    """

    def __init__(
        self,
        *,
        teacher: str,
        teacher_checkpoint: str | None = None,
        teacher_options: dict | None = None,
        teacher_dtype: str = 'float32',
        label_weight: float = 1.0,
        logit_weight: float = 0.0,
        feature_weight: float = 1.0,
        temperature: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if logit_weight <= 0 and feature_weight <= 0:
            raise UserError('the teacher teaches nothing: set logit_weight or feature_weight')
        self.teacher = Teacher(
            teacher,
            checkpoint=teacher_checkpoint,
            options=teacher_options,
            dtype=teacher_dtype,
        )
        if logit_weight > 0 and self.teacher.classes != self.head.num_classes:
            raise UserError(
                f'{teacher} tells {self.teacher.classes or "no"} classes apart, the head '
                f'{self.head.num_classes}: logits cannot be compared. Set logit_weight=0, or take '
                'another teacher'
            )
        self.label_weight = label_weight
        self.projection: nn.Module = nn.Identity()
        if feature_weight > 0 and self.head.in_channels != self.teacher.width:
            self.projection = nn.Linear(self.head.in_channels, self.teacher.width)
        self.logit_weight, self.feature_weight = logit_weight, feature_weight
        self.temperature = temperature

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Returns the weighted losses: ``loss`` by labels, ``loss_logits``, ``loss_features``.

        Args:
            inputs: Normalised images, ``(B, 3, H, W)``.
            data_samples: Their labels, which only ``label_weight`` needs.

        Raises:
            UserError: If the teacher cannot be loaded, or cannot take these images.
        """
        pooled = self.extract_feat(inputs)
        logits, features = self.head(pooled), self.projection(self.head.pre_logits(pooled))
        losses = {}
        if self.label_weight > 0:
            losses['loss'] = self.label_weight * self.head.loss(pooled, data_samples)['loss']
        elif self.logit_weight <= 0:  # else processes would wait for the head's gradients
            losses['loss'] = 0 * logits.sum()
        return losses | self._teacher_losses(inputs, logits, features)

    def _teacher_losses(
        self, images: Tensor, logits: Tensor, features: Tensor
    ) -> dict[str, Tensor]:
        from timm.task import DistillationTeacher, FeatureDistillationTask, LogitDistillationTask

        mean, std = (
            (getattr(self.data_preprocessor, name) / 255).flatten().tolist()
            for name in ('mean', 'std')
        )
        width, classes = features.shape[1], logits.shape[1]
        pupil = _Answers(
            lambda _: (logits, features), width=width, classes=classes, mean=mean, std=std
        )
        teacher = self.teacher
        said = DistillationTeacher(
            _Answers(teacher, width=width, classes=classes, mean=teacher.mean, std=teacher.std),
            device=images.device,
        )
        options: dict[str, Any] = dict(
            criterion=_no_loss,
            distill_loss_weight=1.0,
            task_loss_weight=0.0,
            device=images.device,
            verbose=False,
        )
        losses = {}
        if self.logit_weight > 0:
            task = LogitDistillationTask(pupil, said, temperature=self.temperature, **options)
            losses['loss_logits'] = self.logit_weight * task(images, None)['kd_loss']
        if self.feature_weight > 0:
            task = FeatureDistillationTask(pupil, said, **options)
            losses['loss_features'] = self.feature_weight * task(images, None)['kd_loss']
        return losses


class _Answers(nn.Module):
    """What a model gives for one batch, as timm's tasks ask for it; the model is asked once."""

    def __init__(self, ask: Ask, *, width: int, classes: int, mean: Any, std: Any) -> None:
        super().__init__()
        self.ask = ask
        self.given: tuple[Tensor, Tensor] | None = None
        self.head_hidden_size, self.num_classes, self.in_chans = width, classes, 3
        self.pretrained_cfg = dict(mean=mean, std=std)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(images)

    def forward_features(self, images: Tensor) -> Tensor:
        return images

    def forward_head(self, images: Tensor, pre_logits: bool = False) -> Tensor:
        if self.given is None:
            self.given = self.ask(images)
        return self.given[int(pre_logits)]


def _no_loss(logits: Tensor, target: None) -> Tensor:
    return logits.new_zeros(())
