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
    listed = sum(_record_bytes(one) + one.size_bytes for one in records.pictures)
    return listed + len(records.present) * feature_bytes + _HEADS_BYTES


def _record_bytes(one: TaughtPicture) -> int:
    return len(json.dumps(one.to_dict(), separators=(",", ":"), allow_nan=False)) + 1


def within_budget(
    records: TaughtRecords, useless: Useless, feature_bytes: int
) -> tuple[TaughtRecords, tuple[TaughtPicture, ...]]:
    """The records that fit their budget, and what counted and had to go.

    What was removed goes first, the oldest first; then what is least useful, but nothing that the
    last operation brought.
    """
    listed = {(one.sha256, one.added): _record_bytes(one) for one in records.pictures}
    total_bytes, listed_bytes = size_bytes(records, feature_bytes), sum(listed.values())
    gone: list[TaughtPicture] = []

    def fits() -> bool:
        return (
            total_bytes <= records.budget_bytes
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
        total_bytes -= own_bytes + one.size_bytes + (feature_bytes if one.removed is None else 0)
        gone.append(one)
    if not fits():
        raise UsageError(
            f"these pictures need {total_bytes:,} bytes, and the budget is "
            f"{records.budget_bytes:,}; give fewer pictures, or a larger --budget"
        )
    return records.dropping(gone), tuple(one for one in gone if one.removed is None)
