"""The numbers of a run's releases, and what else makes a bundle a release.

RUN/releases.json names the last release that was exported, and where each was written. It is not
needed to go on learning, and does not count against the budget.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from edgecil.errors import ExportError
from edgecil_devices._json import json_object
from edgecil_devices.files import replace_atomically
from edgecil_devices.manifest import MAX_RELEASE, Manifest
from edgecil_devices.signing import read_public_keys
from edgecil_export.request import ExportRequest

RECORD = "releases.json"


def released(manifest: Manifest, asked: ExportRequest, run: Path) -> Manifest:
    """A manifest with its release number, new keys and expiry.

    A bundle with the content of the last release gets that number again, so that exporting twice
    gives the same bytes.

    Raises:
        BundleCorruptError: a number or a day that cannot be.
        ExportError: the run's record is damaged, or there is no higher number.
        UsageError: the keys cannot be read.
    """
    keys = read_public_keys(asked.new_keys).texts if asked.new_keys else None
    number = asked.release
    if number is None and (asked.sign or keys or asked.above is not None):
        last, content = _last(run)
        draft = replace(manifest, release=1, keys=keys, expires=asked.expires)
        number = last if content == _content(draft) else last + 1
        number = max(number, (asked.above or 0) + 1)
        if number > MAX_RELEASE:
            raise ExportError(f"release {last} was the last there can be; begin a new store")
    return replace(manifest, release=number, keys=keys, expires=asked.expires)


def record(manifest: Manifest, run: Path, bundle: Path) -> None:
    """Remember that a release was exported, and where its bundle is.

    Raises:
        OSError: the run's folder cannot be written.
    """
    if manifest.release is None:
        return
    try:
        last, _ = _last(run)
    except ExportError:
        last = 0  # damaged: its release was given, and is the last that is known
    if manifest.release >= last:
        data = {
            "release": manifest.release,
            "content": _content(manifest),
            "bundles": _bundles(run) | {str(manifest.release): str(bundle.resolve())},
        }
        replace_atomically(run / RECORD, (json.dumps(data, allow_nan=False) + "\n").encode())


def bundle_of(run: Path, release: int) -> Path:
    """Where the bundle of a release of the run was written.

    Raises:
        ExportError: the run has exported no such release, or its bundle is not there any more.
    """
    path = _bundles(run).get(str(release))
    if path is None or not Path(path).is_file():
        lost = f"was written to {path}, which is gone" if path else "was not exported from this run"
        raise ExportError(f"release {release} {lost}; give its bundle to --since")
    return Path(path)


def _bundles(run: Path) -> dict[str, str]:
    try:
        return dict(json_object((run / RECORD).read_bytes())["bundles"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _last(run: Path) -> tuple[int, str]:
    """The number of the run's last release, 0 if there is none, and its content."""
    try:
        data = json_object((run / RECORD).read_bytes())
        return int(data["release"]), str(data["content"])
    except FileNotFoundError:
        return 0, ""
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{run / RECORD} is damaged; give --release with a number above all that were used"
        ) from error


def _content(manifest: Manifest) -> str:
    """What a release is but for its number."""
    return hashlib.sha256(replace(manifest, release=1).to_json()).hexdigest()
