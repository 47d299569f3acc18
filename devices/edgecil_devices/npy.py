"""NumPy array files from a stranger: no objects, no pickles, no more memory than the file has."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.errors import BundleCorruptError

_MAGIC = b"\x93NUMPY\x01\x00"
_START_BYTES = len(_MAGIC) + 2
_HEADER = re.compile(
    rb"\{'descr': '([<|][a-z]\d)', 'fortran_order': False, 'shape': \(([\d, ]{0,99})\), \} *\n"
)
"""As NumPy writes it. Its own reader understands more: all of Python's literals, in fact."""


def read_npy(data: bytes, name: str, dtypes: tuple[str, ...]) -> NDArray[Any]:
    """The array in a NumPy file of version 1.0, in C order, a view of `data`.

    Args:
        data: the whole file.
        name: what to call it in messages.
        dtypes: the types that it may have, as `numpy.dtype.str` writes them.

    Raises:
        BundleCorruptError: it is something else.
    """
    end = _START_BYTES + int.from_bytes(data[len(_MAGIC) : _START_BYTES], "little")
    header = _HEADER.fullmatch(data[_START_BYTES:end])
    if not data.startswith(_MAGIC) or not header or header[1].decode() not in dtypes:
        raise BundleCorruptError(
            f"{name} is not an array in C order of {' or '.join(dtypes)}; export the bundle again"
        )
    try:
        shape = [int(size) for size in header[2].split(b",") if size.strip()]
        # The header cannot make it allocate: the shape has to fit the bytes that are here.
        return np.frombuffer(data, header[1].decode(), offset=end).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise BundleCorruptError(f"{name} is not an array ({error}); export it again") from error
