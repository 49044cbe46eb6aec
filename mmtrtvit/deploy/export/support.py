"""Support for models: which can be exported, and as what."""

from typing import Any

from torch import nn

from ...errors import UserError
from ..backends.registry import find_backend
from ..graphs.tensorrt_limits import MAX_TOP_K
from ..settings import ROI_ALIGN, TORCHSCRIPT, DeploySettings

NMS_KEYS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr', 'max_num'}


def check(model: nn.Module, settings: DeploySettings) -> None:
    """Refuses a model that has a part or a setting which the exporter does not know.

    Args:
        model: The model, as its config builds it.
        settings: What is to be made of it.

    Raises:
        UserError: With the part, its class and the classes that would do.
    """
    if is_classifier(model):
        _check_classifier(model)
    elif is_segmentor(model):
        _check_segmentor(model, settings)
    elif hasattr(model, 'roi_head'):
        _check_two_stages(model)
    else:
        _check_one_stage(model)


def is_classifier(model: nn.Module) -> bool:
    """Whether it is one of MMPretrain, which alone call their head just that."""
    return hasattr(model, 'head')


def is_segmentor(model: nn.Module) -> bool:
    """Whether it is one of MMSegmentation."""
    return hasattr(model, 'decode_head')


def module_to_export(model: nn.Module, settings: DeploySettings) -> nn.Module:
    """Returns the module to export, in eval mode; :func:`check` the model first."""
    if is_classifier(model):
        from .classifiers import ExportedClassifier

        return ExportedClassifier(model).eval()
    if is_segmentor(model):
        from .segmentors import ExportedSegmentor

        return ExportedSegmentor(model, settings.with_argmax).eval()
    from .detectors import BY_LEVEL, ExportedOneStageDetector, ExportedTwoStageDetector

    if hasattr(model, 'roi_head'):
        pooling = settings.pooling
        traced = settings.exporter == TORCHSCRIPT  # not tried with every release of dynamo
        if pooling == ROI_ALIGN and traced and find_backend(settings.backend).shapes_by_values:
            pooling = BY_LEVEL
        return ExportedTwoStageDetector(model, settings.nms, pooling).eval()
    return ExportedOneStageDetector(model, settings.nms).eval()


def _check_classifier(model: nn.Module) -> None:
    _expect(model, 'model', 'ImageClassifier', 'DistilledClassifier')
    if model.neck is not None:
        _expect(model.neck, 'model.neck', 'GlobalAveragePooling')
    _expect(model.head, 'model.head', 'LinearClsHead', 'LeViTClsHead')


def _check_segmentor(model: nn.Module, settings: DeploySettings) -> None:
    _expect(model, 'model', 'EncoderDecoder')
    _expect(model.decode_head, 'model.decode_head', 'UPerHead', 'FPNHead')
    _expect_value(model.test_cfg, 'model.test_cfg', 'mode', 'whole')
    if settings.with_argmax and model.decode_head.out_channels == 1:
        raise UserError(
            'codebase_config.with_argmax: model.decode_head.out_channels is 1, whose '
            'label map needs a threshold. Leave with_argmax out.'
        )
    divisor = (model.data_preprocessor.test_cfg or {}).get('size_divisor') or 1
    if settings.preprocessing and divisor > 1:
        raise UserError(
            f'onnx_config.preprocessing: model.data_preprocessor.test_cfg.size_divisor is {divisor}'
            ', so logits are larger than the image that the host knows. Leave one of them out.'
        )


def _check_one_stage(model: nn.Module) -> None:
    _expect(model, 'model', 'RetinaNet', 'SingleStageDetector')
    _expect(model.bbox_head, 'model.bbox_head', 'RetinaHead')
    _check_anchors(model.bbox_head, 'model.bbox_head')
    _check_nms(model.test_cfg, 'model.test_cfg')


def _check_two_stages(model: nn.Module) -> None:
    _expect(model, 'model', 'MaskRCNN', 'FasterRCNN', 'TwoStageDetector')
    _expect(model.rpn_head, 'model.rpn_head', 'RPNHead')
    _check_anchors(model.rpn_head, 'model.rpn_head')
    _check_nms(model.test_cfg.rpn, 'model.test_cfg.rpn')
    _check_nms(model.test_cfg.rcnn, 'model.test_cfg.rcnn')
    roi_head = model.roi_head
    _expect(roi_head, 'model.roi_head', 'StandardRoIHead')
    _expect(
        roi_head.bbox_head,
        'model.roi_head.bbox_head',
        'Shared2FCBBoxHead',
        'Shared4Conv1FCBBoxHead',
        'ConvFCBBoxHead',
    )
    _check_coder(roi_head.bbox_head.bbox_coder, 'model.roi_head.bbox_head.bbox_coder')
    if roi_head.bbox_head.custom_cls_channels:
        raise UserError(
            'model.roi_head.bbox_head.loss_cls has channels of its own, which the '
            'exporter does not know. It knows CrossEntropyLoss.'
        )
    _check_pooling(roi_head.bbox_roi_extractor, 'model.roi_head.bbox_roi_extractor')
    if roi_head.with_shared_head:
        raise UserError('model.roi_head.shared_head cannot be exported.')
    if roi_head.with_mask:
        _expect(roi_head.mask_head, 'model.roi_head.mask_head', 'FCNMaskHead')
        _check_pooling(roi_head.mask_roi_extractor, 'model.roi_head.mask_roi_extractor')


def _check_anchors(head: nn.Module, key: str) -> None:
    _check_coder(head.bbox_coder, f'{key}.bbox_coder')
    _expect(head.prior_generator, f'{key}.anchor_generator', 'AnchorGenerator')
    if not head.use_sigmoid_cls:
        raise UserError(f'{key}.loss_cls.use_sigmoid is False, expected True.')


def _check_coder(coder: Any, key: str) -> None:
    _expect(coder, key, 'DeltaXYWHBBoxCoder')
    _expect_value(vars(coder), key, 'clip_border', True)
    _expect_value(vars(coder), key, 'add_ctr_clamp', False)


def _check_nms(settings: Any, key: str) -> None:
    _expect_value(settings.nms, f'{key}.nms', 'type', 'nms')
    unknown = set(settings.nms) - NMS_KEYS
    if unknown:
        raise UserError(
            f'{key}.nms has {", ".join(sorted(unknown))}, which the exporter does not '
            f'know. It knows: {", ".join(sorted(NMS_KEYS))}.'
        )
    _expect_value(
        dict(dict(class_agnostic=False), **settings.nms), f'{key}.nms', 'class_agnostic', False
    )
    _expect_value(dict(dict(max_num=-1), **settings.nms), f'{key}.nms', 'max_num', -1)
    if settings.get('nms_pre', 0) > MAX_TOP_K:
        raise UserError(
            f'{key}.nms_pre is {settings.nms_pre}, but TensorRT sorts out no more than '
            f'{MAX_TOP_K}. Train or test with fewer.'
        )


def _check_pooling(extractor: nn.Module, key: str) -> None:
    _expect(extractor, key, 'SingleRoIExtractor')
    layer = extractor.roi_layers[0]
    _expect(layer, f'{key}.roi_layer', 'RoIAlign')
    if layer.pool_mode != 'avg':
        raise UserError(f"{key}.roi_layer.pool_mode is {layer.pool_mode!r}, expected 'avg'.")


def _expect(part: Any, key: str, *names: str) -> None:
    """Takes exactly the named classes: a subclass may compute something else."""
    name = type(part).__name__
    if name not in names:
        raise UserError(
            f'{key} is a {name}, which the exporter does not know. It knows: {", ".join(names)}.'
        )


def _expect_value(settings: Any, key: str, name: str, expected: Any) -> None:
    value = settings.get(name)
    if value != expected:
        raise UserError(f'{key}.{name} is {value!r}, but the exporter knows {expected!r} only.')
