"""How many bytes what was taught takes, and which pictures go when the budget is full."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from edgecil_devices.errors import UsageError
from edgecil_devices.teaching.records import MOST_PICTURES, TaughtPicture, TaughtRecords

_MOST_RECORD_BYTES = 900_000
"""The file of records may have 1,000,000."""
_HEADS_BYTES = 500
"""Of the files of records and features, without what they say of single pictures."""

Useless = Callable[[Sequence[TaughtPicture]], Iterator[TaughtPicture]]
"""Pictures that count, the least useful first."""


def size_bytes(records: TaughtRecords, feature_bytes: int) -> int:
    """What all files of the folder come to, the list and the features included."""
    kept = min(len(records.present), features_kept(records, feature_bytes))
    return _picture_bytes(records) + kept * feature_bytes


def features_kept(records: TaughtRecords, feature_bytes: int) -> int:
    """For how many pictures there is room to keep features beside them.

    A release may have more features than the one before; they can be computed again, a picture
    that is gone cannot be had again.
    """
    return max(0, records.budget_bytes - _picture_bytes(records)) // max(1, feature_bytes)


def _picture_bytes(records: TaughtRecords) -> int:
    """Of all files without what features take."""
    return sum(_record_bytes(one) + one.size_bytes for one in records.pictures) + _HEADS_BYTES


def _record_bytes(one: TaughtPicture) -> int:
    return len(json.dumps(one.to_dict(), separators=(",", ":"), allow_nan=False)) + 1


def within_budget(
    records: TaughtRecords, useless: Useless, feature_bytes: int
) -> tuple[TaughtRecords, tuple[TaughtPicture, ...]]:
    """The records that fit their budget, and what counted and had to go.

    What was removed goes first, the oldest first; then what is least useful, but nothing that the
    last operation brought. So that features have room no more goes than that operation brought:
    those of the others may have grown with the release.
    """
    listed = {(one.sha256, one.added): _record_bytes(one) for one in records.pictures}
    listed_bytes, features = sum(listed.values()), len(records.present)
    kept_bytes = _picture_bytes(records)
    gone: list[TaughtPicture] = []

    def taken(one: TaughtPicture) -> int:
        own = listed[one.sha256, one.added] + one.size_bytes
        return own + (feature_bytes if one.removed is None else 0)

    owed = sum(taken(one) for one in records.present if one.added == records.operation)

    def fits() -> bool:
        with_features = kept_bytes + features * feature_bytes
        return (
            (kept_bytes if owed <= 0 else with_features) <= records.budget_bytes
            and len(records.pictures) - len(gone) <= MOST_PICTURES
            and listed_bytes <= _MOST_RECORD_BYTES
        )

    removed = (one for one in records.pictures if one.removed is not None)
    first = sorted(removed, key=lambda one: one.removed or 0)
    older = [one for one in records.present if one.added != records.operation]
    for one in chain(first, useless(older)):
        if fits():
            break
        own_bytes = listed[one.sha256, one.added]
        listed_bytes -= own_bytes
        kept_bytes -= own_bytes + one.size_bytes
        features -= one.removed is None
        owed -= taken(one)
        gone.append(one)
    if not fits():
        raise UsageError(
            f"these pictures need {kept_bytes + features * feature_bytes:,} bytes, and the budget "
            f"is {records.budget_bytes:,}; give fewer pictures, or a larger --budget"
        )
    return records.dropping(gone), tuple(one for one in gone if one.removed is None)
