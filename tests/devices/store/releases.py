"""Releases of a tiny classifier. Their class names tell the release, so a mixture would show."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgecil_devices.errors import EdgecilError, UntestedError
from edgecil_devices.manifest import Manifest
from edgecil_devices.package import pack
from edgecil_devices.signing import CONTEXT, key_text
from edgecil_devices.store.reading import read_current, read_release
from edgecil_devices.store.records import Release


def labels(number: int) -> tuple[str, ...]:
    """What release `number` can answer."""
    return tuple(f"release {number} class {c}" for c in range(3))


def current(store: Path) -> tuple[str, ...]:
    """The class names that a reader of the store gets."""
    return read_current(store).bundle.manifest.classes


class Key:
    """A key pair that is the same in every run of the tests."""

    def __init__(self, seed: int) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self._private.public_key().public_bytes_raw()
        self.text = key_text(self.public)

    def sign(self, manifest_json: bytes) -> bytes:
        return self.public + self._private.sign(CONTEXT + manifest_json)

    def save(self, path: Path) -> Path:
        path.write_text(self.text + "\n")
        return path


@dataclass
class Made:
    manifest: Manifest
    blobs: dict[str, bytes]


class Releases:
    """Makes bundles and updates in a folder; each release has a block and a head of its own.

    Args:
        tiny: the network of `tests/devices/conftest.py`.
        folder: where the files go.
    """

    def __init__(self, tiny: Any, folder: Path) -> None:
        self.tiny, self.folder = tiny, folder
        folder.mkdir(exist_ok=True)

    def made(self, number: int | None, **changes: Any) -> Made:
        """Manifest and blobs of a release, with other fields of the manifest where asked."""
        random = np.random.default_rng(number or 0)
        tiny = replace(
            self.tiny,
            blocks=[self.tiny.blocks[0], random.normal(size=self.tiny.blocks[1].shape)],
            head=random.normal(size=self.tiny.head.shape),
            classes=labels(number or 0),
        )
        return Made(replace(tiny.manifest(), release=number, **changes), tiny.blobs())

    def bundle(self, number: int | None, key: Key | None = None, **changes: Any) -> Path:
        made = self.made(number, **changes)
        return self._save(f"release-{number}.edgecil", made, made.blobs, key, None)

    def update(self, number: int, base: int, key: Key | None = None, **changes: Any) -> Path:
        made, older = self.made(number, **changes), self.made(base).manifest
        known = {blob.sha256 for blob in older.blobs}
        carried = {b.name: made.blobs[b.name] for b in made.manifest.blobs if b.sha256 not in known}
        assert 0 < len(carried) < len(made.blobs)
        name = f"release-{number}-from-{base}.update"
        return self._save(name, made, carried, key, "b" * 64)

    def _save(
        self, name: str, made: Made, blobs: dict[str, bytes], key: Key | None, base: str | None
    ) -> Path:
        signatures = key.sign(made.manifest.to_json()) if key else b""
        path = self.folder / name
        path.write_bytes(pack(made.manifest, blobs, signatures=signatures, base=base))
        return path


def passes(store: Path, release: Release) -> str | None:
    """A self-test that is passed by whatever can be read, without a process."""
    try:
        read_release(store, release)
    except EdgecilError as error:
        return str(error)
    return None


def fails(store: Path, release: Release) -> str | None:
    """A self-test that is not."""
    return "sample 0 is a cat"


def short(store: Path, release: Release) -> str | None:
    """A self-test that the system ends for its memory."""
    raise UntestedError("its self-test was ended by SIGKILL; is there enough memory?")
