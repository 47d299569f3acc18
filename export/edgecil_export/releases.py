"""The numbers of a run's releases, and what else makes a bundle a release.

RUN/releases.json names the last release that was exported, and where the bundle of each is; null
where none was kept. It is not needed to go on learning, and does not count against the budget.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from edgecil.errors import ExportError
from edgecil_devices._json import json_object
from edgecil_devices.files import replace_atomically
from edgecil_devices.manifest import MAX_RELEASE, Manifest
from edgecil_devices.package import read_package
from edgecil_devices.signing import read_public_keys
from edgecil_devices.store.updating import MOST_AHEAD
from edgecil_export.request import ExportRequest

RECORD = "releases.json"


def released(manifest: Manifest, asked: ExportRequest, run: Path) -> Manifest:
    """A manifest with its release number, new keys and expiry.

    A bundle with the content of the last release gets that number again, so that exporting twice
    gives the same bytes.

    Raises:
        BundleCorruptError: a number or a day that cannot be.
        ExportError: the run's record is damaged, there is no higher number, or it is out of reach
            of the release that it is to follow.
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
            raise ExportError(
                f"release {number - 1} is the last there can be; begin a new store: remove "
                f"{run / RECORD} and export anew"
            )
    if number is not None and asked.above is not None:
        require_within_reach(number, asked.above)
    return replace(manifest, release=number, keys=keys, expires=asked.expires)


def require_within_reach(release: int, base: int) -> None:
    """Refuse a number that devices do not take from an update, however it was come by.

    Args:
        release: the number of the update.
        base: that of the release that devices have.

    Raises:
        ExportError: they are more than `MOST_AHEAD` apart.
    """
    if release - base > MOST_AHEAD:
        raise ExportError(
            f"release {release} is more than {MOST_AHEAD:,} above release {base}, so devices that "
            "have that one refuse it as an update; export with a --release of at most "
            f"{base + MOST_AHEAD}, or let them take the whole bundle"
        )


def record(manifest: Manifest, run: Path, bundle: Path | None) -> None:
    """Remember that a release was exported, and where its bundle is.

    Args:
        manifest: of the release; one without a number is not remembered.
        run: the run's folder.
        bundle: where it is; None where it is not kept, and one of the same content may be.

    Raises:
        OSError: the run's folder cannot be written.
    """
    if manifest.release is None:
        return
    try:
        last, last_content = _last(run)
    except ExportError:
        last, last_content = 0, ""  # damaged: its release was given, and is the last that is known
    if manifest.release >= last:
        bundles, number, content = _bundles(run), str(manifest.release), _content(manifest)
        kept = bundles.get(number) if content == last_content else None
        data = {
            "release": manifest.release,
            "content": content,
            "bundles": bundles | {number: str(bundle.resolve()) if bundle else kept},
        }
        replace_atomically(run / RECORD, (json.dumps(data, allow_nan=False) + "\n").encode())


def bundle_of(run: Path, release: int) -> Path:
    """Where the bundle of a release of the run was written.

    Raises:
        ExportError: the run has exported no such release, or its bundle is not there (any more).
        BundleError: what is there cannot be read.
    """
    bundles, number = _bundles(run), str(release)
    if number not in bundles:
        raise ExportError(
            f"release {release} was not exported from this run; give its bundle to --since"
        )
    path = bundles[number]
    if path is None:
        raise ExportError(
            f"release {release} was made without --bundle, so its bundle was not kept; give an "
            "older one to --since, whose updates fit these devices, too"
        )
    if not Path(path).is_file():
        raise ExportError(
            f"release {release} was written to {path}, which is gone; give its bundle to --since"
        )
    # `export` without --out writes one release over the other.
    found = read_package(path).manifest.release
    if found != release:
        holds = f"release {found}" if found else "a bundle without a number"
        raise ExportError(
            f"release {release} was written to {path}, which holds {holds} now; give its bundle "
            "to --since"
        )
    return Path(path)


def _bundles(run: Path) -> dict[str, str | None]:
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
