"""The features of taught pictures: computed once for a release, and kept beside the pictures.

Features belong to one network. So the file names the release they are of; where it is of another
one, is damaged or cannot be written, they are computed again from the pictures.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from edgecil_devices._json import json_object
from edgecil_devices.errors import ImageError, StoreDamagedError
from edgecil_devices.files import replace_atomically
from edgecil_devices.images import read_pixels
from edgecil_devices.preprocessing import Preprocessing
from edgecil_devices.teaching.overlay import Overlay
from edgecil_devices.teaching.records import TaughtPicture
from edgecil_devices.teaching.room import features_kept

Features = NDArray[np.float32]
"""Of one picture, (F,)."""

Network = Callable[[NDArray[np.uint8]], Features]
"""Pixels (N, S, S, 3) -> features (N, F)."""

_BYTES_A_FEATURE = 4
"""Kept as float32, so that an answer does not depend on who computed them."""
_NAME_BYTES = 70

AT_ONCE = 8
"""Pictures whose features are computed together: more at once take memory and save no time."""


def feature_bytes(length: int) -> int:
    """What `length` features of a picture take in the file, with its name."""
    return _BYTES_A_FEATURE * length + _NAME_BYTES


class TaughtFeatures:
    """Features of the pictures of an overlay, by their sha256.

    Args:
        overlay: whose pictures.
        release: the sha256 of the release's manifest.
        network: computes features.
        preprocessing: how a picture becomes pixels.
    """

    def __init__(
        self, overlay: Overlay, release: str, network: Network, preprocessing: Preprocessing
    ) -> None:
        self._overlay, self._release = overlay, release
        self._network = network
        # A picture is kept as a network saw it: a margin is not there any more.
        self._preprocessing = replace(preprocessing, shorter_side_px=None)
        self._known: dict[str, Features] = _read(overlay, release)
        self._kept = tuple(self._known)
        self.problems: list[str] = []
        """Pictures that cannot be read any more, a line each."""

    def of(
        self, pictures: Iterable[TaughtPicture], present: Iterable[TaughtPicture]
    ) -> dict[str, Features]:
        """Features by sha256; what cannot be read is left out and named in `problems`.

        Args:
            pictures: whose features are wanted.
            present: all that is taught, these among them; features of others are let go.
        """
        missing = [one for one in pictures if one.sha256 not in self._known]
        self.problems = []
        for start in range(0, len(missing), AT_ONCE):
            read = self._read_pixels(missing[start : start + AT_ONCE])
            if read:
                computed = self._network(np.stack(list(read.values())))
                self._known |= dict(zip(read, computed, strict=True))
        names = {one.sha256 for one in present}
        if missing or self._known.keys() - names:
            self._known = {sha: self._known[sha] for sha in names if sha in self._known}
            self._keep()
        return dict(self._known)

    def _read_pixels(self, pictures: Iterable[TaughtPicture]) -> dict[str, NDArray[np.uint8]]:
        found = {}
        for one in pictures:
            try:
                data = self._overlay.picture(one)
                found[one.sha256] = read_pixels(data, self._preprocessing)
            except (StoreDamagedError, ImageError) as error:
                self.problems.append(str(error))
        return found

    def _keep(self) -> None:
        """Keep as many as the budget has room for; the rest is computed again next time."""
        length = next((len(row) for row in self._known.values()), 0)
        most = features_kept(self._overlay.records(), feature_bytes(length))
        wanted = dict.fromkeys([*(sha for sha in self._kept if sha in self._known), *self._known])
        kept = {sha: self._known[sha] for sha in islice(wanted, most)}
        if kept and tuple(kept) == self._kept:
            return
        # Whoever may only read the folder, or has no room, computes them again next time, too.
        with contextlib.suppress(OSError):
            if kept:
                replace_atomically(self._overlay.features_file, _to_bytes(self._release, kept))
            else:
                self._overlay.features_file.unlink(missing_ok=True)
            self._kept = tuple(kept)


def _to_bytes(release: str, known: Mapping[str, Features]) -> bytes:
    """A line of JSON, then the numbers."""
    table = b"".join(row.astype("<f4").tobytes() for row in known.values())
    head = {
        "release": release,
        "pictures": list(known),
        "check": hashlib.sha256(table).hexdigest(),
    }
    return json.dumps(head, separators=(",", ":"), allow_nan=False).encode() + b"\n" + table


def _read(overlay: Overlay, release: str) -> dict[str, Features]:
    """The features of this release that are kept; nothing where the file is none of it."""
    try:
        line, _, table = overlay.features_file.read_bytes().partition(b"\n")
        head = json_object(line)
        names = [str(name) for name in head["pictures"]]
        if head["release"] != release or head["check"] != hashlib.sha256(table).hexdigest():
            return {}
        rows = np.frombuffer(table, "<f4").reshape(len(names), -1)
        return dict(zip(names, rows, strict=True))
    except (OSError, ValueError, TypeError, KeyError):
        return {}
