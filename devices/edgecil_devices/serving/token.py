"""The token that a person needs who teaches over a network.

It is in the fragment of the page's address, which browsers keep to themselves, and comes with each
request as `Authorization: Bearer TOKEN` (RFC 6750). A page of another server can send no such field
without asking us first, which we never allow.
"""

import hmac
import os
import secrets
import stat
from pathlib import Path

from edgecil_devices.errors import RequestError, StoreWriteError, UsageError
from edgecil_devices.files import (
    cannot_be_written,
    remove_leftovers,
    sync_folder,
    temporary_of,
    write_synced,
)
from edgecil_devices.ownership import opened
from edgecil_devices.serving.messages import Head

_BYTES = 18
_LEAST_CHARACTERS = 16


class Token:
    """Lets those teach who know it.

    Args:
        text: the secret.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def drawn(cls) -> "Token":
        """One that nobody has had before."""
        return cls(secrets.token_urlsafe(_BYTES))

    @classmethod
    def kept_in(cls, path: Path) -> "Token":
        """The one in a file; where there is none, a new one is written there for its owner alone.

        An empty file, as a full disk or a power cut leaves it, holds none.

        Raises:
            UsageError: the file cannot be read, or what is in it is too short.
            StoreWriteError: it cannot be written: no wrong setting, since a disk gets full, or is
                mounted later.
        """
        try:
            if _is_free(path):
                _write(path, cls.drawn().text)
        except OSError as error:
            raise StoreWriteError(cannot_be_written(path, error)) from error
        try:
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"--token-file {path} cannot be read as text; give another") from None
        if len(text) < _LEAST_CHARACTERS or not text.isprintable() or " " in text:
            raise UsageError(
                f"--token-file {path} must hold one word of {_LEAST_CHARACTERS} characters or "
                "more; delete it, and a new one is made"
            )
        return cls(text)

    def require(self, head: Head) -> None:
        """Refuse a request without it.

        Raises:
            RequestError: it is missing or wrong.
        """
        scheme, _, given = head.fields.get("authorization", "").partition(" ")
        sent = given.strip().encode("latin-1")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent, self.text.encode()):
            raise RequestError(
                401,
                "teaching needs the token that edgecil serve printed when it began",
                {"WWW-Authenticate": "Bearer"},
            )


def _is_free(path: Path) -> bool:
    """Whether nothing is there, or an empty file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _write(path: Path, text: str) -> None:
    """Put a file with a token in place whole, unless another process was quicker.

    Raises:
        OSError: the disk is full or failing, or the folder cannot be written; nothing was.
    """
    remove_leftovers(path)
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)
    try:
        # The mode is that of the very first moment: `write_synced` finds the file there.
        os.close(opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        write_synced(temporary, f"{text}\n".encode())
        try:
            os.link(temporary, path)
        except OSError:  # something is there, or the file system, a memory card's, has no links
            if _is_free(path):
                temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
