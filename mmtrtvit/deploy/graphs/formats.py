"""Formats of eight bits that a graph is quantized to, and what TensorRT computes in them."""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

LEAST_CHANNELS = 17  # of inputs and of outputs, that TensorRT has FP8 convolutions for
LEAST_SIDE = 16  # of a matrix, that it has FP8 products for
MOST_CELLS = 32  # of an FP8 convolution's kernel


@dataclass(frozen=True)
class NumberFormat:
    """Numbers of eight bits.

    Attributes:
        precision: What a deploy config calls it.
        type: Its element type in ONNX.
        largest: The largest number, which the largest value of a tensor becomes.
        per_channel: Whether weights have a scale for each output channel, or one for all.
        opset: The first that quantizes to it.
        ir_version: The first of ONNX's own format that holds it.
    """

    precision: str
    type: int
    largest: float
    per_channel: bool
    opset: int
    ir_version: int

    def round(self, values: np.ndarray) -> np.ndarray:
        """Values of the format's range rounded to its numbers, as bytes."""
        if self.type == TensorProto.INT8:
            return np.rint(values).clip(-self.largest, self.largest).astype(np.int8)
        within = torch.from_numpy(values.clip(-self.largest, self.largest))
        return within.to(torch.float8_e4m3fn).view(torch.int8).numpy()

    def tensor(self, name: str, values: np.ndarray) -> TensorProto:
        """Stores what :meth:`round` gave."""
        return helper.make_tensor(name, self.type, values.shape, values.tobytes(), raw=True)

    def takes(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
        """Whether TensorRT computes a layer in it faster than in single precision.

        For FP8 it has no kernels for convolutions in groups, with few channels or with large
        kernels, nor for products of narrow matrices, which fail or take longer.

        Args:
            node: A Conv, Gemm or MatMul.
            shape: Shape of its weights.
        """
        if self.type == TensorProto.INT8:
            return True
        if node.op_type != 'Conv':
            return min(shape) >= LEAST_SIDE
        groups = next((each.i for each in node.attribute if each.name == 'group'), 1)
        return groups == 1 and min(shape[:2]) >= LEAST_CHANNELS and prod(shape[2:]) <= MOST_CELLS


INT8 = NumberFormat('int8', TensorProto.INT8, 127, per_channel=True, opset=13, ir_version=8)
FP8 = NumberFormat('fp8', TensorProto.FLOAT8E4M3FN, 448, per_channel=False, opset=19, ir_version=9)
FORMATS = {each.precision: each for each in (INT8, FP8)}
