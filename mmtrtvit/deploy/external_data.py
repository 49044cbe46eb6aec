"""External data: weights of an ONNX file that lie in other files, found as ONNX Runtime does."""

from collections.abc import Iterator
from pathlib import Path

import onnx

from ..errors import UserError
from .graphs.graph import subgraphs

BITS = {
    getattr(onnx.TensorProto, name): bits
    for name, bits in dict(INT4=4, UINT4=4, FLOAT4E2M1=4, INT2=2, UINT2=2).items()
    if hasattr(onnx.TensorProto, name)
}  # of types that are smaller than a byte


def external_files(model: onnx.ModelProto, path: str | Path) -> dict[str, Path]:
    """Returns the files with the weights of a model, by their names in it.

    Args:
        model: The model, read without those weights.
        path: Its file.

    Raises:
        UserError: If one is missing or too short, or lies outside of the model's folder, also by
            a link, where a file of a stranger may not reach.
    """
    files = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            name = entries.get('location', '')
            files[name] = _file(Path(path), name, tensor)
            _check_length(files[name], entries, tensor)
    return files


def _file(path: Path, name: str, tensor: onnx.TensorProto) -> Path:
    weights = f'{path}: the weights {tensor.name} are in {name!r}'
    folder = path.parent.resolve()
    if not name or '\0' in name or Path(name).is_absolute():
        raise UserError(f'{weights}, expected the name of a file beside it.')
    file = (folder / name).resolve()
    if not file.is_relative_to(folder):
        raise UserError(
            f'{weights}, which is {file}: expected a file in the folder of the model, without '
            'links that lead out of it. Copy it there.'
        )
    if not file.is_file():
        raise UserError(
            f'{weights}, but there is no file {folder / name}. Copy it there with the model.'
        )
    return file


def _check_length(file: Path, entries: dict[str, str], tensor: onnx.TensorProto) -> None:
    try:
        offset = int(entries.get('offset', 0))
        length = int(entries['length']) if 'length' in entries else _length(tensor)
    except (ValueError, KeyError) as error:
        raise UserError(f'{file}: what the model says of {tensor.name} is no number.') from error
    size = file.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise UserError(
            f'{file} has {size} bytes, but {tensor.name} is expected in bytes {offset} to '
            f'{offset + length}: it is cut off, or belongs to another model.'
        )


def _length(tensor: onnx.TensorProto) -> int:
    """Bytes that the weights take."""
    count = 1
    for side in tensor.dims:
        count *= side
    kind = tensor.data_type
    bits = BITS.get(kind) or 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
    return -(-count * bits // 8)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All stored tensors of a graph and those inside it."""
    for each in (graph, *subgraphs(graph)):
        yield from each.initializer
        for sparse in each.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in each.node:
            for attribute in node.attribute:
                if attribute.HasField('t'):
                    yield attribute.t
                yield from attribute.tensors
