"""Options of the tools that measure blocks, without PyTorch."""

import argparse

from ..arguments import positive, seconds, share, size

CHANNELS = 256, 512, 1024, 2048  # of ResNet-50's stages and TRT-ViT-D's


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """Adds what says where and how blocks are measured."""
    add = parser.add_argument_group('measuring').add_argument
    add(
        '--backends',
        nargs='+',
        default=['fused'],
        metavar='NAME',
        help='eager, compiled or fused in PyTorch (default: fused, the copy for inference), '
        'onnxruntime, openvino, tensorrt',
    )
    add('--device', choices=('cpu', 'cuda'), default='cpu', help='(default: cpu)')
    add(
        '--precisions',
        nargs='+',
        choices=('fp32', 'fp16', 'bf16', 'int8'),
        default=['fp32'],
        metavar='NAME',
        help='fp32 (default), fp16, bf16, int8, as far as a backend has them',
    )
    add('--batches', nargs='+', type=positive, default=[1], metavar='N', help='(default: 1)')
    add(
        '--image',
        type=size,
        default=(224, 224),
        metavar='HxW',
        help='size of the image; the stages are at strides 4, 8, 16 and 32 (default: 224x224)',
    )
    add(
        '--channels',
        nargs=4,
        type=positive,
        default=CHANNELS,
        metavar='C',
        help=f'widths of the four stages (default: {" ".join(map(str, CHANNELS))})',
    )
    add('--threads', type=positive, default=0, metavar='N', help='on the CPU (default: all)')
    add('--cuda-graphs', action='store_true', help="record PyTorch's kernels once and replay them")
    add('--rounds', type=positive, default=15, metavar='N', help='least rounds (default: 15)')
    add(
        '--max-spread',
        type=share,
        default=0.1,
        metavar='SHARE',
        help='how uncertain a latency may be, plus or minus, with a probability of 95 %%; '
        'measured until that is reached (default: 10%%)',
    )
    add(
        '--time-limit',
        type=seconds,
        default=600.0,
        metavar='SECONDS',
        help='most time for each precision and batch size (default: 600)',
    )
