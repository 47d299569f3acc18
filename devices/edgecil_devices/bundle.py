"""A whole bundle in memory: what the runtime runs, whatever files it came in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecil_devices.errors import BundleCorruptError, BundleError
from edgecil_devices.manifest import Manifest
from edgecil_devices.output import typed
from edgecil_devices.package import AGAIN, Package, check_blob, read_package


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, every byte of it checked."""

    manifest: Manifest
    """What the bundle says about itself."""
    blobs: dict[str, bytes]
    """The content of each blob by its name, in the manifest's order."""
    manifest_json: bytes
    """The manifest's own bytes."""
    source: str
    """Where it was read from, for messages."""


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle file into memory, once, and check every byte of it.

    Raises:
        BundleError: there is no such file, it cannot be read, or it is an update.
        BundleCorruptError: it is truncated, altered or something else altogether.
        BundleVersionError: it is of a newer format than this edgecil reads.
    """
    package = read_package(path)
    if package.base is not None:
        raise BundleError(
            f"{path}: an update, which lacks what its base has; "
            f"put it into a store: edgecil update {typed(path)} --store DIR"
        )
    return complete(package, {})


def complete(package: Package, more: Mapping[str, bytes]) -> Bundle:
    """The whole bundle of an update, with the blobs that it does not carry from elsewhere.

    Args:
        package: a bundle or an update.
        more: blobs by sha256; those that are not needed are left aside.

    Raises:
        BundleCorruptError: a blob is missing or is not what the manifest says.
    """
    return _assembled(
        package.manifest, package.manifest_json, {**more, **package.blobs}, package.source
    )


def assemble(manifest_json: bytes, blobs: Mapping[str, bytes], source: str) -> Bundle:
    """A bundle from its parts, each checked.

    Args:
        manifest_json: the manifest's own bytes.
        blobs: contents by sha256; those that are not needed are left aside.
        source: where they come from, for messages.

    Raises:
        BundleCorruptError: a blob is missing or is not what the manifest says.
        BundleVersionError: the manifest means something this edgecil does not know.
    """
    return _assembled(Manifest.from_json(manifest_json), manifest_json, blobs, source)


def _assembled(
    manifest: Manifest, manifest_json: bytes, blobs: Mapping[str, bytes], source: str
) -> Bundle:
    contents = {}
    for blob in manifest.blobs:
        if blob.sha256 not in blobs:
            raise BundleCorruptError(f"{source}: {blob.name} is missing; {AGAIN}")
        contents[blob.name] = blobs[blob.sha256]
        check_blob(contents[blob.name], blob)
    return Bundle(manifest, contents, manifest_json, source)
