"""Signatures of releases: Ed25519 over the manifest's bytes, which name every blob by its sha256.

The signatures of a file are 96 bytes each, one after the other: a public key, then its signature of
`CONTEXT` and the manifest. Signatures of keys that nobody here trusts are left aside.

A public key is written `ed25519:` and 32 bytes in base64. What computes is the package
`cryptography`, imported when the first signature is looked at.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecil_devices.errors import MissingExtraError, SignatureError, UsageError
from edgecil_devices.manifest import MAX_KEYS

CONTEXT = b"edgecil release\0"
"""What is signed begins so, so that no signature made for something else will do."""
SIGNATURE_BYTES = 96

_KEY_BYTES = 32
_PREFIX = "ed25519:"
_LARGEST_KEY_FILE_BYTES = 4096


@dataclass(frozen=True)
class KeySet:
    """The public keys that somebody trusts; the signature of any one of them will do."""

    keys: tuple[bytes, ...]
    """32 bytes each."""

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "KeySet":
        """Keys from their texts.

        Raises:
            UsageError: one is no public key, or there is none, or there are too many.
        """
        keys = tuple(_parse(text) for text in texts)
        if not 0 < len(keys) <= MAX_KEYS:
            raise UsageError(f"give 1 to {MAX_KEYS} public keys, not {len(keys)}")
        return cls(keys)

    @property
    def texts(self) -> tuple[str, ...]:
        """The keys as texts."""
        return tuple(key_text(key) for key in self.keys)


def key_text(key: bytes) -> str:
    """32 bytes as `ed25519:` and base64."""
    return _PREFIX + base64.b64encode(key).decode()


def _parse(text: str) -> bytes:
    if text.startswith("-----BEGIN"):
        raise UsageError("this is a private key; give the public one, whose name ends in .pub")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or len(key) != _KEY_BYTES or key_text(key) != text:
        raise UsageError(
            f"{text[:60]!r} is no public key, which looks like ed25519:...; "
            "edgecil keys show prints it"
        )
    return key


def read_public_keys(path: str | Path) -> KeySet:
    """The public keys in a file, one a line; lines that begin with # are remarks.

    Raises:
        UsageError: there is no such file, or no key in it.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_KEY_FILE_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no public key can be read there ({error})") from error
    lines = [line.strip() for line in text.splitlines()]
    try:
        return KeySet.parse(line for line in lines if line and not line.startswith("#"))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def signers(signatures: bytes) -> tuple[str, ...]:
    """The keys that claim to have signed, unchecked, as texts.

    Raises:
        SignatureError: the signatures are not a whole number of them.
    """
    return tuple(key_text(key) for key, _ in _parts(signatures))


def verify(manifest_json: bytes, signatures: bytes, keys: KeySet) -> None:
    """Refuse a manifest that none of `keys` has signed.

    Args:
        manifest_json: the manifest's own bytes.
        signatures: those that came with it.
        keys: whose signatures count.

    Raises:
        SignatureError: no trusted key signed, or a trusted key's signature is not of these bytes.
        MissingExtraError: cryptography is not installed.
    """
    trusted = [(key, mark) for key, mark in _parts(signatures) if key in keys.keys]
    if not trusted:
        by = f"only by {', '.join(signers(signatures))}" if signatures else "by nobody"
        raise SignatureError(
            f"it is signed {by}, and trusted is {', '.join(keys.texts)}; "
            "have it signed with the right key: edgecil export --sign KEY"
        )
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError as error:
        raise MissingExtraError("checking a signature", "sign") from error
    for key, mark in trusted:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(mark, CONTEXT + manifest_json)
        except (InvalidSignature, ValueError) as error:
            raise SignatureError(
                f"the signature of {key_text(key)} is not of this manifest; somebody changed it, "
                "so get it again from whoever made it"
            ) from error


def _parts(signatures: bytes) -> list[tuple[bytes, bytes]]:
    if len(signatures) % SIGNATURE_BYTES:
        raise SignatureError("the signatures are damaged; copy or export the file again")
    pieces = [
        signatures[start : start + SIGNATURE_BYTES]
        for start in range(0, len(signatures), SIGNATURE_BYTES)
    ]
    return [(piece[:_KEY_BYTES], piece[_KEY_BYTES:]) for piece in pieces]
