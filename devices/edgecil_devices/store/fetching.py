"""Releases from a folder or a plain static web server, which need not be trusted.

    latest                      the number of the newest release, written last
    release-8.edgecil           that release, whole
    release-8-from-7.update     what release 7 lacks of it

What arrives is checked like any file that a stranger hands over. The worst a server can do is to
withhold a release.
"""

import contextlib
import random
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import sleep
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError

from edgecil_devices._http import SCHEMES, RedirectionError, get, promised_bytes, shown, told
from edgecil_devices.errors import BundleCorruptError, EdgecilError, FetchError
from edgecil_devices.files import FULL, make_folder
from edgecil_devices.ownership import opened
from edgecil_devices.package import Package
from edgecil_devices.store.folder import SPARE_BYTES, require_free

T = TypeVar("T")

Read = Callable[[Path], Package]
"""Reads a bundle or an update from a file, checked, and signed as it must be."""

LATEST = "latest"
"""The file that names the newest release."""

MAX_RELEASE_BYTES = 2**29
"""A larger file is not fetched."""

HEAD_BYTES = 2**17
"""Once so much has arrived, the rest is fetched only of what has a known format and a trusted
signature. They stand at the beginning, behind manifests of some kilobytes; longer ones, of up to a
megabyte, are looked at when all is here."""

TIME_LIMIT_S = 600.0
"""One request ends by then; the next one goes on where it ended."""

STALL_S = 30.0
"""A connection from which nothing comes for so long is given up."""

MOST_FAILURES = 5
"""Requests in a row that bring nothing."""

MOST_REQUESTS = 40
"""Requests for one file."""

LONGEST_PAUSE_S = 60.0
"""Between two requests."""

_MAX_LATEST_BYTES = 64
_MAX_NUMBER = 2**53 - 1
_CHUNK_BYTES = 2**16
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_NOT_OFFERED = {403, 404, 410}
"""403: so a bucket whose files may not be listed, S3 for one, answers where there is no file."""


class NotOfferedError(FetchError):
    """There is no such file, or none for us."""


class _BrokenError(Exception):
    """A request that failed in a way that may pass.

    Args:
        why: for people.
        pause_s: how long the server asks us to wait.
    """

    def __init__(self, why: str, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.pause_s = pause_s


@dataclass(frozen=True)
class FolderSource:
    """Releases in a folder: a memory stick, a network share."""

    folder: Path
    """Where the files above are."""

    def latest(self) -> int:
        """The number of the newest release.

        Raises:
            FetchError: the folder does not say.
        """
        path = self.folder / LATEST
        try:
            with path.open("rb") as file:
                return _number(file.read(_MAX_LATEST_BYTES + 1), str(path))
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror}; is this a folder of releases?") from error

    def package(self, name: str, read: Read) -> Package:
        """A bundle or an update by its file name, as `read` gives it.

        Raises:
            NotOfferedError: there is none.
            BundleError: it is not sound.
        """
        path = self.folder / name
        if not path.exists():
            raise NotOfferedError(f"{path} is not there; ask whoever offers the releases")
        return read(path)


@dataclass(frozen=True)
class WebSource:
    """Releases on a web server. What has arrived of a file is kept for the next time."""

    address: str
    """Of the folder."""
    incoming: Path
    """Where to keep what arrives."""

    def latest(self) -> int:
        """The number of the newest release.

        Raises:
            FetchError: the server cannot be reached, or does not say.
        """

        def read() -> bytes:
            with self._get(LATEST) as answer:
                return b"".join(_chunks(answer, _MAX_LATEST_BYTES + 1))

        return _number(self._persist(LATEST, read, lambda: 0), self._url(LATEST))

    def package(self, name: str, read: Read) -> Package:
        """A bundle or an update by its file name, as `read` gives it.

        Raises:
            NotOfferedError: there is none.
            FetchError: it does not arrive.
            BundleError: what arrives is not sound.
        """
        partial = self.incoming / name
        make_folder(self.incoming)
        resumed = partial.exists()
        try:
            return self._fetched(name, partial, read)
        except BundleCorruptError:
            # The beginning may be of another file than the end, or was lost in a power cut.
            if not resumed:
                raise
            return self._fetched(name, partial, read)

    def _fetched(self, name: str, partial: Path, read: Read) -> Package:
        self._persist(name, lambda: self._read_on(name, partial, read), lambda: _size(partial))
        try:
            return read(partial)
        finally:
            partial.unlink()

    def _persist(self, name: str, read: Callable[[], T], arrived: Callable[[], int]) -> T:
        """Call `read` until it returns, in bounds; `arrived` tells how many bytes are here."""
        failures, why = 0, ""
        for _ in range(MOST_REQUESTS):
            before = arrived()
            try:
                return read()
            except _BrokenError as error:
                failures = 0 if arrived() > before else failures + 1
                why, asked_pause_s = str(error), error.pause_s
            if failures == MOST_FAILURES:
                break
            # Devices that lost the same server at the same moment must not come back together.
            backoff_s = random.uniform(0, 2.0**failures)
            sleep(min(max(backoff_s, asked_pause_s), LONGEST_PAUSE_S))
        raise FetchError(f"{self._url(name)}: {why}; try again later")

    def _read_on(self, name: str, partial: Path, read: Read) -> None:
        """Append what is missing to `partial`; it goes where the whole is not to be had."""
        have = _size(partial)
        asked = {"Range": f"bytes={have}-"} if have else {}
        with self._get(name, **asked) as answer:
            try:
                self._append(name, answer, partial, have, read)
            except EdgecilError:
                partial.unlink()
                raise
            except OSError as error:
                if error.errno in FULL:
                    partial.unlink()
                raise

    def _append(self, name: str, answer: Any, partial: Path, have: int, read: Read) -> None:
        """Write an answer behind the first `have` bytes of `partial`, or in place of them.

        Raises:
            FetchError: the file is too large.
            BundleVersionError: it is of a newer format.
            SignatureError: no trusted key has signed it.
            StoreWriteError: there is no room for it.
            OSError: the disk is full all the same, or failing.
        """
        with open(partial, "ab", opener=opened) as file:
            # A server may do as it likes with a range.
            if not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
                file.truncate(have := 0)
            self._require_room(name, have, promised_bytes(answer) or 0)
            # One more than the most, so that a longer file is told from one of just so many.
            for chunk in _chunks(answer, MAX_RELEASE_BYTES + 1 - have):
                self._require_room(name, have, len(chunk))
                before, have = have, have + file.write(chunk)
                if before < HEAD_BYTES <= have:
                    file.flush()
                    _require_head(partial, read)

    def _require_room(self, name: str, have: int, more: int) -> None:
        """Check that `more` bytes may come; what has arrived of other files goes for them."""
        if have + more > MAX_RELEASE_BYTES:
            mib = MAX_RELEASE_BYTES // 2**20
            raise FetchError(f"{self._url(name)} is larger than {mib} MiB; offer it smaller")
        needed_bytes = more + SPARE_BYTES
        if shutil.disk_usage(self.incoming).free < needed_bytes:
            keep_only(self.incoming, [name])
            require_free(self.incoming, needed_bytes)

    def _get(self, name: str, **headers: str) -> Any:
        try:
            return get(self._in_folder(name), TIME_LIMIT_S, STALL_S, **headers)
        except HTTPError as error:
            error.close()
            if error.code == 416:  # there is nothing after what we have: begin again
                (self.incoming / name).unlink(missing_ok=True)
                raise _BrokenError("what has arrived is not of this file") from None
            answer = told(f"{error.code} {error.reason}")
            if error.code in _RETRIED:
                pause = error.headers.get("Retry-After", "")
                pause_s = float(pause) if pause.isdecimal() else 0.0
                raise _BrokenError(f"the server answers {answer}", pause_s) from None
            kind = NotOfferedError if error.code in _NOT_OFFERED else FetchError
            raise kind(f"{self._url(name)}: the server answers {answer}") from None
        except RedirectionError as error:
            raise FetchError(f"{self._url(name)}: {error.reason}") from None
        except URLError as error:
            raise _BrokenError(f"no connection ({told(error.reason)})") from None
        except (HTTPException, OSError) as error:
            raise _BrokenError(told(error)) from None
        except ValueError as error:
            raise FetchError(f"{shown(self.address)} is no address ({told(error)})") from None

    def _in_folder(self, name: str) -> str:
        return f"{self.address.rstrip('/')}/{name}"

    def _url(self, name: str) -> str:
        """As people are told of it."""
        return shown(self._in_folder(name))


def source_at(place: str, incoming: Path) -> FolderSource | WebSource:
    """Where releases come from.

    Args:
        place: a folder, or an http or https address.
        incoming: where to keep what arrives from an address.
    """
    if place.lower().startswith(SCHEMES):
        return WebSource(place, incoming)
    return FolderSource(Path(place))


def names_of(number: int, have: int | None) -> list[str]:
    """The files that hold release `number`, smallest first, for a device with release `have`."""
    names = [f"release-{number}.edgecil"]
    if have is not None:
        names.insert(0, f"release-{number}-from-{have}.update")
    return names


def keep_only(incoming: Path, names: Collection[str]) -> None:
    """Delete what has arrived of other files than these.

    Args:
        incoming: the folder with what has arrived; there may be none.
        names: of files that are still wanted.

    Raises:
        OSError: the disk is failing.
    """
    if incoming.exists():
        for path in incoming.iterdir():
            if path.name not in names:
                path.unlink()


def _chunks(answer: Any, limit_bytes: int) -> Iterator[bytes]:
    """The body of an answer, or its first bytes if it is longer than the limit.

    Raises:
        _BrokenError: the connection ends before the body does.
    """
    promised = promised_bytes(answer)
    expected = None if promised is None else min(promised, limit_bytes)
    have = 0
    while have < limit_bytes:
        try:
            chunk = answer.read(min(_CHUNK_BYTES, limit_bytes - have))
        except (HTTPException, OSError) as error:
            raise _BrokenError(told(error)) from error
        if not chunk:
            break
        have += len(chunk)
        yield chunk
    if expected is not None and have < expected:
        raise _BrokenError(f"the connection broke after {have} of {expected} bytes")


def _require_head(partial: Path, read: Read) -> None:
    """Check what stands at the beginning of a file that has not arrived whole."""
    with contextlib.suppress(BundleCorruptError):  # so it is called as long as something is missing
        read(partial)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _number(data: bytes, where: str) -> int:
    text = data.strip()
    if len(data) > _MAX_LATEST_BYTES or not text.isdigit() or not 0 < int(text) <= _MAX_NUMBER:
        raise FetchError(f"{where} does not hold a release number; is this a folder of releases?")
    return int(text)
