"""safetensors files of flat tensors, whose size is known before there is anything to write.

The library reads them. They are written here, because a budget is planned to the byte and how long
the library makes its header is its own affair: the layout below follows the format's specification
and the size is computed from the very header that is written.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from edgecil.errors import StateCorruptError

Array = NDArray[Any]

_DTYPE_NAMES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(np.int8): "I8",
    np.dtype(np.uint8): "U8",
    np.dtype(np.uint16): "U16",
    np.dtype(np.uint32): "U32",
}


def file_size(shapes: Mapping[str, tuple[DTypeLike, int]]) -> int:
    """The size in bytes of the file of flat tensors given as name -> (dtype, length)."""
    data_bytes = sum(np.dtype(dtype).itemsize * length for dtype, length in shapes.values())
    return len(_header(shapes)) + data_bytes


def write_tensors(tensors: Mapping[str, Array]) -> bytes:
    """Put flat tensors into one safetensors file; the same tensors give the same bytes."""
    shapes = {name: (tensor.dtype, len(tensor)) for name, tensor in tensors.items()}
    data = (np.ascontiguousarray(tensors[name]).tobytes() for name in _order(shapes))
    return _header(shapes) + b"".join(data)


def read_tensors(data: bytes) -> dict[str, Array]:
    """The flat tensors of a safetensors file.

    Raises:
        StateCorruptError: `data` is truncated or altered, or its tensors are not flat.
    """
    try:
        tensors: dict[str, Array] = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StateCorruptError("not a whole safetensors file") from error
    if any(tensor.ndim != 1 for tensor in tensors.values()):
        raise StateCorruptError("a safetensors file whose tensors are not flat")
    return tensors


def _order(shapes: Mapping[str, tuple[DTypeLike, int]]) -> list[str]:
    # Wide types first, so that every tensor is aligned in the file.
    return sorted(shapes, key=lambda name: (-np.dtype(shapes[name][0]).itemsize, name))


def _header(shapes: Mapping[str, tuple[DTypeLike, int]]) -> bytes:
    entries, start = {}, 0
    for name in _order(shapes):
        dtype, length = np.dtype(shapes[name][0]), shapes[name][1]
        end = start + dtype.itemsize * length
        entries[name] = {
            "dtype": _DTYPE_NAMES[dtype],
            "shape": [length],
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
