"""Arrays from a stranger: NumPy's own files are read, all else is refused."""

import io
import struct
from typing import Any

import numpy as np
import pytest

from edgecil_devices.errors import BundleCorruptError
from edgecil_devices.npy import read_npy


def saved(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def with_header(header: str, data: bytes = b"", size: int | None = None) -> bytes:
    text = header.encode()
    size = len(text) if size is None else size
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", size) + text + data


def header(shape: str, dtype: str = "<f4", order: bool = False) -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "|u1"])
def test_what_numpy_wrote_is_read_back(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    found = read_npy(saved(array), "x", ("<f4", "<f2", "|u1"))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04 an npz file",
        saved(np.zeros(3, np.float32), (2, 0)),
        saved(np.zeros(3, np.float32), (3, 0)),
        saved(np.zeros(3, ">f4")),
        saved(np.zeros(3, np.float64)),
        saved(np.asfortranarray(np.zeros((2, 3), np.float32))),
        saved(np.array([None])),
        saved(np.zeros(3, [("a", "<f4")])),
        saved(np.zeros(3, np.float32))[:-1],
        saved(np.zeros(3, np.float32)) + b"\0",
        with_header(header("(3,)"), bytes(8)),
        with_header(header("(1000000000000,)"), bytes(12)),
        with_header(header(f"({2**40}, {2**40})")),
        with_header(header(f"({10**90},)"), bytes(12)),
        with_header(header("(-1, 3)"), bytes(24)),
        with_header(header("(3.0,)"), bytes(12)),
        with_header(header("(3,)"), bytes(12), size=65535),
        with_header("__import__('os').getpid()\n", bytes(12)),
        with_header("(" * 5000, bytes(12)),
        with_header(header("(3,)", "O"), bytes(24)),
    ],
)
def test_all_else_is_refused_and_named(data: bytes) -> None:
    with pytest.raises(BundleCorruptError, match=r"^head\.npy is not an array "):
        read_npy(data, "head.npy", ("<f4",))
