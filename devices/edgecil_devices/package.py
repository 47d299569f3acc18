r"""The one container of bundles and updates: header, manifest, signatures, then blobs.

     0   8  b"\x89edgecil"
     8   4  format, that of the manifest, unsigned, little-endian
    12   4  m: size of the manifest in bytes, likewise
    16   4  s: size of the signatures in bytes, likewise
    20   4  b: size of the map of blobs in bytes, likewise
    24  32  base: sha256 of the manifest that an update builds on; zeros in a bundle
    56  32  sha256 of the first 56 bytes, the manifest, the signatures and the map
    88   m  the manifest, JSON in UTF-8
         s  the signatures, see `signing`
         b  the map: one bit a blob of the manifest, lowest first; 1 for those that are carried
            the carried blobs, in the manifest's order

A bundle carries all blobs. An update carries those that its base lacks; its manifest and signatures
are those of the bundle of the same release, byte for byte. `export/FORMAT.md` is the specification.
"""

import hashlib
import os
import stat
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from edgecil_devices.blobs import MAX_BLOBS, Blob
from edgecil_devices.errors import BundleCorruptError, BundleError, BundleVersionError
from edgecil_devices.manifest import FORMAT, Manifest
from edgecil_devices.output import typed
from edgecil_devices.signing import SIGNATURE_BYTES, KeySet, verify

MAGIC = b"\x89edgecil"
MAX_MANIFEST_BYTES = 1_000_000
MAX_SIGNATURES_BYTES = 16 * SIGNATURE_BYTES

_HEADER = struct.Struct("<8sIIII32s32s")
_DIGEST_AT = _HEADER.size - 32
_NO_BASE = bytes(32)
AGAIN = "copy or export the file again"
"""The remedy for damage."""


@dataclass(frozen=True)
class Package:
    """A bundle or an update in memory, every byte of it checked."""

    manifest: Manifest
    """What the whole bundle says about itself, also where this is an update."""
    manifest_json: bytes
    """The manifest's own bytes, which are what is signed."""
    signatures: bytes
    """As `signing` reads them; empty where nobody signed."""
    base: str | None
    """sha256 of the manifest that an update builds on, hexadecimal; None for a bundle."""
    blobs: dict[str, bytes]
    """The carried blobs by their sha256."""
    size_bytes: int
    """Of the whole file."""
    source: str
    """Where it was read from, for messages."""

    @property
    def manifest_sha256(self) -> str:
        """What names the release, hexadecimal."""
        return hashlib.sha256(self.manifest_json).hexdigest()

    @property
    def missing(self) -> tuple[Blob, ...]:
        """The blobs that are not carried, which the base has."""
        return tuple(blob for blob in self.manifest.blobs if blob.sha256 not in self.blobs)


def pack(
    manifest: Manifest,
    blobs: Mapping[str, bytes],
    *,
    signatures: bytes = b"",
    base: str | None = None,
) -> bytes:
    """The bytes of a bundle, or of an update.

    Args:
        manifest: of the whole bundle.
        blobs: contents by name; all that the manifest lists for a bundle, some of them for an
            update.
        signatures: of the manifest's bytes.
        base: for an update, the sha256 of the manifest it builds on.

    Raises:
        BundleCorruptError: a blob is not what the manifest says, or the manifest is too large.
    """
    manifest_json = manifest.to_json()
    if len(manifest_json) > MAX_MANIFEST_BYTES:
        raise BundleCorruptError(
            f"the manifest has {len(manifest_json)} bytes, more than {MAX_MANIFEST_BYTES}; "
            "shorten the class names"
        )
    names = [blob.name for blob in manifest.blobs]
    carried = [blob for blob in manifest.blobs if blob.name in blobs]
    if not set(blobs) <= set(names) or (base is None and len(carried) < len(names)):
        raise BundleCorruptError("the manifest lists other blobs than there are")
    for blob in carried:
        check_blob(blobs[blob.name], blob)
    bits = sum(1 << number for number, name in enumerate(names) if name in blobs)
    blob_map = bits.to_bytes(_map_bytes(manifest), "little")
    base_sha256 = _NO_BASE if base is None else bytes.fromhex(base)
    sizes = len(manifest_json), len(signatures), len(blob_map)
    start = _HEADER.pack(MAGIC, manifest.format_number, *sizes, base_sha256, bytes(32))[:_DIGEST_AT]
    told = manifest_json + signatures + blob_map
    digest = hashlib.sha256(start + told).digest()
    return b"".join((start, digest, told, *(blobs[blob.name] for blob in carried)))


def read_package(
    source: str | Path | bytes,
    trusted: KeySet | None = None,
    vouched: Collection[str] = (),
) -> Package:
    """Read a bundle or an update into memory, once, and check every byte of it.

    Args:
        source: a file, or its bytes.
        trusted: keys one of which must have signed it, which is seen to before anything but sizes
            and sums is looked at; None takes whatever is sound.
        vouched: sha256 of manifests that need no signature.

    Raises:
        BundleError: there is no such file, or it cannot be read.
        SignatureError: no trusted key has signed it.
        BundleCorruptError: it is truncated, altered or something else altogether.
        BundleVersionError: it is of a newer format than this edgecil reads.
    """
    if isinstance(source, bytes):
        return _read(BytesIO(source), len(source), "a bundle in memory", trusted, vouched)
    path = Path(source)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(_not_a_file(path))
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return _read(file, size_bytes, str(path), trusted, vouched)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    except BundleError as error:
        raise type(error)(f"{path}: {error}") from error


def is_run(path: Path) -> bool:
    """Whether a folder is what `edgecil train` made, which some take for a bundle or a store."""
    return (path / "state").is_dir()


def _not_a_file(path: Path) -> str:
    if is_run(path):
        bundle = f"{path.name}.edgecil"
        return f"a run, not a bundle; run: edgecil export {typed(path)} --out {typed(bundle)}"
    return "not a bundle, which is a single file"


def _read(
    file: BinaryIO,
    size_bytes: int,
    source: str,
    trusted: KeySet | None,
    vouched: Collection[str],
) -> Package:
    header = file.read(_HEADER.size)
    if not MAGIC.startswith(header[: len(MAGIC)]):
        raise BundleCorruptError("not an edgecil bundle; make one with: edgecil export")
    if len(header) < _HEADER.size:
        raise _truncated(size_bytes, f"a header alone has {_HEADER.size}")
    _, format_, manifest_bytes, signatures_bytes, map_bytes, base, digest = _HEADER.unpack(header)
    if format_ > FORMAT:
        raise BundleVersionError(
            f"format {format_} is newer than this edgecil reads ({FORMAT}); install a newer edgecil"
        )
    if (
        format_ < 1
        or not 0 < manifest_bytes <= MAX_MANIFEST_BYTES
        or signatures_bytes > MAX_SIGNATURES_BYTES
        or signatures_bytes % SIGNATURE_BYTES
        or map_bytes > MAX_BLOBS // 8
    ):
        raise BundleCorruptError(f"the header is damaged; {AGAIN}")

    told_bytes = manifest_bytes + signatures_bytes + map_bytes
    told = file.read(told_bytes)
    if len(told) < told_bytes:
        raise _truncated(size_bytes, f"what comes before the blobs {_HEADER.size + told_bytes}")
    if hashlib.sha256(header[:_DIGEST_AT] + told).digest() != digest:
        raise BundleCorruptError(f"header or manifest is damaged; {AGAIN}")
    manifest_json, blob_map = told[:manifest_bytes], told[told_bytes - map_bytes :]
    signatures = told[manifest_bytes : manifest_bytes + signatures_bytes]
    if trusted is not None and hashlib.sha256(manifest_json).hexdigest() not in vouched:
        verify(manifest_json, signatures, trusted)
    manifest = Manifest.from_json(manifest_json)
    if manifest.format_number != format_:
        raise BundleCorruptError(
            f"the header says format {format_}, the manifest {manifest.format_number}; {AGAIN}"
        )
    carried = _carried(manifest, blob_map, is_update=base != _NO_BASE)

    # Known before anything large is read, so a file can neither end early nor go on for ever.
    expected = _HEADER.size + told_bytes + sum(blob.size_bytes for blob in carried)
    if size_bytes < expected:
        raise _truncated(size_bytes, f"the whole of it {expected}")
    if size_bytes > expected:
        raise BundleCorruptError(f"{size_bytes - expected} bytes too many after the end; {AGAIN}")
    blobs = {}
    for blob in carried:
        blobs[blob.sha256] = file.read(blob.size_bytes)
        check_blob(blobs[blob.sha256], blob)
    return Package(
        manifest=manifest,
        manifest_json=manifest_json,
        signatures=signatures,
        base=base.hex() if base != _NO_BASE else None,
        blobs=blobs,
        size_bytes=size_bytes,
        source=source,
    )


def _map_bytes(manifest: Manifest) -> int:
    return -(-len(manifest.blobs) // 8)


def _carried(manifest: Manifest, blob_map: bytes, *, is_update: bool) -> list[Blob]:
    """The blobs that the map names; a bundle must carry all."""
    bits, count = int.from_bytes(blob_map, "little"), len(manifest.blobs)
    sound = len(blob_map) == _map_bytes(manifest) and bits < 1 << count
    if not sound or (not is_update and bits != (1 << count) - 1):
        raise BundleCorruptError(f"the map of its blobs is wrong; {AGAIN}")
    return [blob for number, blob in enumerate(manifest.blobs) if bits >> number & 1]


def _truncated(size_bytes: int, expected: str) -> BundleCorruptError:
    return BundleCorruptError(f"truncated: it has {size_bytes} bytes, {expected}; {AGAIN}")


def check_blob(data: bytes, blob: Blob) -> None:
    """Refuse contents that are not those of `blob`.

    Raises:
        BundleCorruptError: its size or its sha256 is another.
    """
    if len(data) != blob.size_bytes:
        raise BundleCorruptError(
            f"{blob.name} has {len(data)} bytes, not {blob.size_bytes}; {AGAIN}"
        )
    if (found := hashlib.sha256(data).hexdigest()) != blob.sha256:
        raise BundleCorruptError(
            f"{blob.name} is damaged: its sha256 is {found}, not {blob.sha256}; {AGAIN}"
        )
