r"""The bundle file: one header, one manifest, then every blob, with nothing between or after.

     0   8  b"\x89edgecil"
     8   4  format, unsigned, little-endian
    12   4  size of the manifest in bytes, unsigned, little-endian
    16  32  sha256 of the manifest
    48   n  the manifest, JSON in UTF-8
    48+n    the blobs, in the manifest's order

Every byte is covered: the header by its fixed values, the manifest by the header's sha256, the
blobs by the manifest's. `export/FORMAT.md` is the specification.
"""

import hashlib
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgecil_devices.errors import BundleCorruptError, BundleError, BundleVersionError
from edgecil_devices.manifest import FORMAT, Manifest

MAGIC = b"\x89edgecil"
MAX_MANIFEST_BYTES = 1_000_000

_HEADER = struct.Struct("<8sII32s")


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, every byte of it checked."""

    manifest: Manifest
    """What the bundle says about itself."""
    blobs: dict[str, bytes]
    """The content of each blob by its name, in the manifest's order."""
    manifest_json: bytes
    """The manifest's own bytes, as they stand in the file."""
    source: str
    """Where it was read from, for messages."""

    @property
    def size_bytes(self) -> int:
        """The size of the whole file."""
        return _HEADER.size + len(self.manifest_json) + sum(map(len, self.blobs.values()))


def pack(manifest: Manifest, blobs: Mapping[str, bytes]) -> bytes:
    """The bytes of a bundle file.

    Args:
        manifest: lists exactly the `blobs`, with their sizes and hashes.
        blobs: their contents by name.

    Raises:
        BundleCorruptError: a blob is not what the manifest says, or the manifest is too large.
    """
    manifest_json = manifest.to_json()
    if len(manifest_json) > MAX_MANIFEST_BYTES:
        raise BundleCorruptError(
            f"the manifest has {len(manifest_json)} bytes, more than {MAX_MANIFEST_BYTES}; "
            "shorten the class names"
        )
    if [blob.name for blob in manifest.blobs] != list(blobs):
        raise BundleCorruptError("the manifest lists other blobs than there are")
    for blob in manifest.blobs:
        _check_blob(blobs[blob.name], blob.size_bytes, blob.sha256, blob.name)
    digest = hashlib.sha256(manifest_json).digest()
    header = _HEADER.pack(MAGIC, FORMAT, len(manifest_json), digest)
    return b"".join((header, manifest_json, *blobs.values()))


def read_bundle(path: str | Path) -> Bundle:
    """Read a whole bundle into memory, once, and check every byte of it.

    Raises:
        BundleError: there is no such file, or it cannot be read.
        BundleCorruptError: it is truncated, altered or something else altogether.
        BundleVersionError: it is of a newer format than this edgecil reads.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(_not_a_file(path))
        with path.open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size, str(path))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    except BundleError as error:
        raise type(error)(f"{path}: {error}") from error


def _not_a_file(path: Path) -> str:
    if (path / "state").is_dir():
        return f"a run, not a bundle; run: edgecil export {path} --out {path.name}.edgecil"
    return "not a bundle, which is a single file"


def _read(file: BinaryIO, size_bytes: int, source: str) -> Bundle:
    header = file.read(_HEADER.size)
    if not MAGIC.startswith(header[: len(MAGIC)]):
        raise BundleCorruptError("not an edgecil bundle; make one with: edgecil export")
    if len(header) < _HEADER.size:
        raise _truncated(size_bytes, f"a bundle's header alone has {_HEADER.size}")
    _, format_, manifest_bytes, manifest_sha256 = _HEADER.unpack(header)
    if format_ > FORMAT:
        raise BundleVersionError(
            f"format {format_} is newer than this edgecil reads ({FORMAT}); "
            "run: pip install -U edgecil"
        )
    if format_ < FORMAT or not 0 < manifest_bytes <= MAX_MANIFEST_BYTES:
        raise BundleCorruptError("the header is damaged; copy or export the bundle again")

    manifest_json = file.read(manifest_bytes)
    if len(manifest_json) < manifest_bytes:
        raise _truncated(size_bytes, f"header and manifest have {_HEADER.size + manifest_bytes}")
    _check_blob(manifest_json, manifest_bytes, manifest_sha256.hex(), "manifest")
    manifest = Manifest.from_json(manifest_json)

    # Known before anything large is read, so a file can neither end early nor go on for ever.
    expected = _HEADER.size + manifest_bytes + sum(blob.size_bytes for blob in manifest.blobs)
    if size_bytes < expected:
        raise _truncated(size_bytes, f"the whole bundle has {expected}")
    if size_bytes > expected:
        raise BundleCorruptError(
            f"{size_bytes - expected} bytes too many after the last blob; "
            "copy or export the bundle again"
        )
    blobs = {}
    for blob in manifest.blobs:
        blobs[blob.name] = file.read(blob.size_bytes)
        _check_blob(blobs[blob.name], blob.size_bytes, blob.sha256, blob.name)
    return Bundle(manifest, blobs, manifest_json, source)


def _truncated(size_bytes: int, expected: str) -> BundleCorruptError:
    return BundleCorruptError(
        f"truncated: it has {size_bytes} bytes, {expected}; copy or export the bundle again"
    )


def _check_blob(data: bytes, size_bytes: int, sha256: str, name: str) -> None:
    if len(data) != size_bytes:
        raise BundleCorruptError(
            f"{name} has {len(data)} bytes, not {size_bytes}; copy or export the bundle again"
        )
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise BundleCorruptError(
            f"{name} is damaged: its sha256 is {found}, not {sha256}; "
            "copy or export the bundle again"
        )
