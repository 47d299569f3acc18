"""Pictures cut off at every byte, and files that are no files: refused, each in one line."""

import io
import multiprocessing
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from edgecil_devices.errors import ImageError
from edgecil_devices.images import read_image

KINDS = {"JPEG": {"quality": 80}, "PNG": {}, "WEBP": {"quality": 80}, "WEBP lossless": {}}


def small(kind: str) -> bytes:
    """A picture of noise: nothing in it can be guessed from what stands before."""
    if kind.startswith("WEBP") and not features.check("webp"):
        pytest.skip("Pillow was built without WebP")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    options = {"lossless": True} if kind.endswith("lossless") else KINDS[kind]
    Image.fromarray(pixels).save(stream, kind.split()[0], **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_cut_off_at_any_byte_is_refused_or_whole(kind: str) -> None:
    data = small(kind)
    whole = np.asarray(read_image(data))
    shortest_read, refused = len(data), [""]
    for length in range(len(data)):
        try:
            read = np.asarray(read_image(data[:length]))
        except ImageError as error:
            refused.append(str(error))
        else:
            assert np.array_equal(read, whole), f"another picture at {length} of {len(data)}"
            shortest_read = min(shortest_read, length)
    assert not any("\n" in told for told in refused)
    # Only marks and checksums after the last pixel may be missing.
    assert len(data) - shortest_read <= 20  # PNG's 8 of checks and 12 of its end


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels, in few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    compressor = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    rows = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_bomb_is_refused_without_memory_for_it(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(9_000))  # 243 MB of pixels
    assert path.stat().st_size < 400_000
    code = """
import resource, sys
from edgecil_devices.errors import ImageError
from edgecil_devices.images import read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[1])
except ImageError as error:
    print(error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    told, grown_kb = done.stdout.splitlines()
    assert "64,000,000 allowed" in told
    assert int(grown_kb) < 20_000


def test_text_chunks_that_swell_are_refused() -> None:
    """A PNG whose compressed remark is 80 MB of spaces."""
    data = small("PNG")
    body = b"Comment\0\0" + zlib.compress(bytes(80 * 2**20), 9)
    check = struct.pack(">I", zlib.crc32(b"zTXt" + body))
    swollen = data[:33] + struct.pack(">I", len(body)) + b"zTXt" + body + check + data[33:]
    with pytest.raises(ImageError, match="damaged"):
        read_image(swollen)


def _vanish_and_return(path: Path, data: bytes, stop: "multiprocessing.synchronize.Event") -> None:
    while not stop.is_set():
        path.unlink(missing_ok=True)
        spare = path.with_suffix(".new")
        spare.write_bytes(data)
        spare.rename(path)


def test_a_file_that_vanishes_meanwhile_is_whole_or_named(tmp_path: Path) -> None:
    data = small("PNG")
    path = tmp_path / "picture.png"
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    other = context.Process(target=_vanish_and_return, args=(path, data, stop))
    other.start()
    try:
        whole = np.asarray(read_image(data))
        read = gone = 0
        told = set()
        while (read < 20 or gone < 20) and read + gone < 200_000:
            try:
                assert np.array_equal(np.asarray(read_image(path)), whole)
                read += 1
            except ImageError as error:
                told.add(str(error))
                gone += 1
    finally:
        stop.set()
        other.join()
    assert min(read, gone) >= 20
    assert told == {f"{path}: the file cannot be opened (No such file or directory)"}


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(small("PNG"))
    path.chmod(0)
    if os.geteuid() == 0:
        child = os.fork()  # root may read everything
        if child == 0:
            os.setuid(65534)
            os._exit(_told(path) != "Permission denied")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
        assert _told(path) == "Permission denied"


def _told(path: Path) -> str:
    try:
        read_image(path)
    except ImageError as error:
        return "Permission denied" if "Permission denied" in str(error) else str(error)
    return "read"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_wrong_suffix_does_not_matter(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    for suffix in (".jpg", ".png", ".txt", ""):
        path = tmp_path / f"picture{suffix}"
        path.write_bytes(data)
        assert np.array_equal(np.asarray(read_image(path)), np.asarray(read_image(data)))
