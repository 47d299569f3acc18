"""Private keys: made, read and used to sign releases.

A private key is a PEM file (PKCS #8), encrypted if it has a passphrase, that only its owner may
read. Its public key stands beside it, in a file of the same name and `.pub`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgecil.errors import MissingExtraError, UsageError
from edgecil_devices.files import cannot_be_written, write_synced
from edgecil_devices.output import typed
from edgecil_devices.signing import CONTEXT, key_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE_VARIABLE = "EDGECIL_PASSPHRASE"
"""Where the passphrase of an encrypted key is looked for."""


def public_path(path: Path) -> Path:
    """Where the public key of the private key in `path` is written."""
    return path.with_name(f"{path.name}.pub")


def new_key(path: Path, passphrase: str | None = None) -> str:
    """Make a key pair; returns the public key as a text.

    Args:
        path: the private key's file; the public key's has `.pub` after its name.
        passphrase: what the private key is encrypted with; None leaves it readable.

    Raises:
        UsageError: one of the files is there already; keys are never written over.
        MissingExtraError: cryptography is not installed.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    for wanted in (path, public_path(path)):
        if wanted.exists():
            raise UsageError(f"{wanted} is there already, and keys are never written over")
    made: list[Path] = []
    try:
        # Made with its permissions, so that nobody else can read it for a moment.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        made.append(path)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        text = key_text(_public_bytes(key))
        made.append(public_path(path))
        write_synced(public_path(path), f"{text}\n".encode())
    except OSError as error:
        for half in made:  # it would be in the way of the next attempt
            half.unlink(missing_ok=True)
        failed = Path(error.filename or path)
        raise UsageError(cannot_be_written(failed, error)) from error
    return text


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """The private key in a file; its passphrase, if it has one, is taken from the environment.

    Raises:
        UsageError: there is no such key, it is of another kind, or the passphrase is not its own.
        MissingExtraError: cryptography is not installed.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} is not there; check the path, or make a key with: edgecil keys new "
            f"{typed(path)}"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); give the file of a private key, as the "
            "user whose it is"
        ) from error
    if b"ENCRYPTED" not in data:
        passphrase = None
    elif not passphrase:
        raise UsageError(f"{path} is encrypted; put its passphrase into {PASSPHRASE_VARIABLE}")
    try:
        key = serialization.load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError) as error:
        if passphrase:
            raise UsageError(f"{path}: not its passphrase, or the file is damaged") from error
        raise UsageError(f"{path} is no private key; sign with the one without .pub") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is not an Ed25519 key; make one with: edgecil keys new")
    return key


def public_text(path: Path) -> str:
    """The public key of the private key in `path`.

    Raises:
        UsageError: see `read_private_key`.
    """
    return key_text(_public_bytes(read_private_key(path)))


def signature(manifest_json: bytes, path: Path) -> bytes:
    """The signature of a manifest by the private key in `path`, as a file carries it.

    Raises:
        UsageError: see `read_private_key`.
    """
    key = read_private_key(path)
    return _public_bytes(key) + key.sign(CONTEXT + manifest_json)


def _public_bytes(key: "Ed25519PrivateKey") -> bytes:
    return key.public_key().public_bytes_raw()


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401 - only whether it is there
    except ModuleNotFoundError as error:
        raise MissingExtraError("a key", "sign") from error
