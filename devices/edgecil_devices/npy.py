"""NumPy array files from a stranger: no objects, no pickles, no more memory than the file has."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.errors import BundleCorruptError


def read_npy(data: bytes, name: str, dtypes: tuple[str, ...]) -> NDArray[Any]:
    """The array in a NumPy file of version 1.0, in C order, a view of `data`.

    Args:
        data: the whole file.
        name: what to call it in messages.
        dtypes: the types that it may have, as `numpy.dtype.str` writes them.

    Raises:
        BundleCorruptError: it is something else.
    """
    stream = BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not version 1.0")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        if fortran_order or dtype.str not in dtypes:
            raise ValueError(f"not in C order of {' or '.join(dtypes)}")
        # The header cannot make it allocate: the shape has to fit the bytes that are here.
        return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
    except (ValueError, TypeError, SyntaxError) as error:
        raise BundleCorruptError(
            f"{name} is not an array ({error}); export the bundle again"
        ) from error
