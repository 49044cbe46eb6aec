"""Windows: splitting a feature map, merging it again, and the index of the position bias.

These are pure functions without a branch on a size. A feature map is always padded to whole windows
and cropped again, so a traced graph holds for every height and width. torch.export (and
torch.onnx.export with ``dynamo=True``) takes a single row or column of windows for a constant: give
it an example with more.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad


def split_windows(x: Tensor, window_size: int) -> Tensor:
    """Splits a feature map into windows, padded with zeros at the right and at the bottom.

    Args:
        x: Feature map, ``(B, C, H, W)``.
        window_size: Side of a window, w.

    Returns:
        Windows, row by row, in the memory format ``channels_last``:
        ``(B * ceil(H / w) * ceil(W / w), C, w, w)``.
    """
    tokens = split_tokens(x.permute(0, 2, 3, 1), window_size, x.shape[1])
    return tokens.unflatten(1, (window_size, window_size)).permute(0, 3, 1, 2)


def merge_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Merges the windows of :func:`split_windows` and crops the padding.

    Args:
        windows: ``(B * ceil(H / w) * ceil(W / w), C, w, w)``.
        height: Height of the feature map, H.
        width: Width of the feature map, W.

    Returns:
        Feature map, ``(B, C, H, W)``, with the strides of ``channels_last``.
    """
    tokens = windows.flatten(2).transpose(1, 2)
    channels, window_size = windows.shape[1:3]
    return merge_tokens(tokens, window_size, height=height, width=width, channels=channels).permute(
        0, 3, 1, 2
    )


def split_tokens(x: Tensor, window_size: int, channels: int) -> Tensor:
    """Splits a feature map whose channels come last into windows of tokens.

    Args:
        x: Feature map, ``(B, H, W, C)``.
        window_size: Side of a window, w.
        channels: C; as a number it makes a traced graph smaller than ``x.shape[3]`` would.

    Returns:
        Tokens, window by window: ``(B * ceil(H / w) * ceil(W / w), w * w, C)``.
    """
    height, width = x.shape[1:3]
    rows, columns = _ceil_div(height, window_size), _ceil_div(width, window_size)
    x = pad(x, (0, 0, 0, columns * window_size - width, 0, rows * window_size - height))
    x = x.reshape(-1, rows, window_size, columns, window_size, channels)
    return x.transpose(2, 3).reshape(-1, window_size**2, channels)


def merge_tokens(
    tokens: Tensor, window_size: int, *, height: int, width: int, channels: int
) -> Tensor:
    """Merges the windows of :func:`split_tokens` and crops the padding.

    Args:
        tokens: ``(B * ceil(H / w) * ceil(W / w), w * w, C)``.
        window_size: Side of a window, w.
        height: Height of the feature map, H.
        width: Width of the feature map, W.
        channels: C, as in :func:`split_tokens`.

    Returns:
        Feature map, ``(B, H, W, C)``.
    """
    rows, columns = _ceil_div(height, window_size), _ceil_div(width, window_size)
    x = tokens.reshape(-1, rows, columns, window_size, window_size, channels).transpose(2, 3)
    x = x.reshape(-1, rows * window_size, columns * window_size, channels)
    return x[:, :height, :width]


def relative_bias_index(window_size: int) -> Tensor:
    """Index of the bias of each pair of tokens in a table of w * w absolute offsets.

    Args:
        window_size: Side of a window, w.

    Returns:
        ``|dy| * w + |dx|`` of tokens i and j, numbered row by row, int64: ``(w * w, w * w)``.
    """
    side = torch.arange(window_size)
    y, x = torch.meshgrid(side, side, indexing='ij')
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y).abs() * window_size + (x[:, None] - x).abs()


def _ceil_div(size: int, divisor: int) -> int:
    return (size + (divisor - 1)) // divisor
