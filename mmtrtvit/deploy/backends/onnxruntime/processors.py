"""Processors that an INT8 file is for: in which integers ONNX Runtime multiplies fastest there."""

import platform
from dataclasses import dataclass

OPTION = 'processor'  # key of backend_config.common_config


@dataclass(frozen=True)
class Processor:
    """How to quantize for a kind of processor.

    Attributes:
        family: Of machines; a file for one is slow on others.
        signed: Whether activations are int8; otherwise they are uint8. Weights are int8.
        seven_bits: Whether weights use half of their range, so that sums of two products of an
            activation and a weight fit into 16 bits.
    """

    family: str = 'x86'
    signed: bool = False
    seven_bits: bool = False


PROCESSORS = {
    'x86': Processor(),  # with VNNI: Intel's servers since Cascade Lake, AMD since Zen 4
    'x86_avx2': Processor(seven_bits=True),
    'arm': Processor('ARM', signed=True),
}


def this_processor() -> str:
    """Returns the key of :data:`PROCESSORS` that fits this machine, taken for one with VNNI."""
    machine = platform.machine().lower()
    return 'arm' if machine.startswith(('arm', 'aarch64')) else 'x86'
