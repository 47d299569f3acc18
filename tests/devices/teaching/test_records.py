"""What was taught as a list: every change, and its way back."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgecil_devices.errors import StoreDamagedError
from edgecil_devices.teaching.records import TaughtPicture, TaughtRecords, shortened


def picture(number: int, label: str = "mug", correction: bool = False) -> TaughtPicture:
    when = "2026-11-28T16:21:40Z"
    return TaughtPicture(f"{number:064x}", label, correction, 100 + number, when, "a.jpg", 0)


def names(records: TaughtRecords) -> list[tuple[int, str]]:
    return [(int(one.sha256, 16), one.label) for one in records.present]


def test_steps_are_undone_one_by_one_to_the_very_beginning() -> None:
    steps = [TaughtRecords()]
    steps.append(steps[-1].with_pictures([picture(1), picture(2)]))
    steps.append(steps[-1].with_pictures([picture(3, "cup")]))
    steps.append(steps[-1].without(lambda one: one.label == "mug"))
    steps.append(steps[-1].with_pictures([picture(3, "mug")]))
    assert [names(one) for one in steps] == [
        [],
        [(1, "mug"), (2, "mug")],
        [(1, "mug"), (2, "mug"), (3, "cup")],
        [(3, "cup")],
        [(3, "mug")],
    ]
    records = steps[-1]
    for before in steps[-2::-1]:
        assert records.can_be_undone
        records = records.undone()
        assert names(records) == names(before)
        assert records.operation == before.operation
    assert not records.can_be_undone


def test_what_was_dropped_for_room_cannot_be_undone_any_more() -> None:
    taught = TaughtRecords().with_pictures([picture(1)]).with_pictures([picture(2, "cup")])
    forgotten = taught.without(lambda one: one.label == "mug")
    dropped = forgotten.dropping([one for one in forgotten.pictures if one.removed])
    assert names(dropped) == [(2, "cup")]
    assert not dropped.can_be_undone
    assert dropped.with_pictures([picture(4)]).can_be_undone


def test_the_file_gives_back_the_records(tmp_path: Path) -> None:
    records = TaughtRecords().with_pictures([picture(1), picture(2, "tabby", True)])
    records = replace(records.without(lambda one: one.label == "mug"), budget_bytes=777)
    path = tmp_path / "taught.json"
    assert TaughtRecords.read(path) == TaughtRecords()
    records.write(path)
    assert TaughtRecords.read(path) == records


@pytest.mark.parametrize("place", [0, 5, 40, -3])
def test_a_changed_byte_of_the_file_is_noticed(tmp_path: Path, place: int) -> None:
    path = tmp_path / "taught.json"
    TaughtRecords().with_pictures([picture(1)]).write(path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError, match="restore it from a copy, or move .* away"):
        TaughtRecords.read(path)


def test_a_long_source_is_kept_by_its_end() -> None:
    assert shortened("a.jpg") == "a.jpg"
    assert shortened("/".join(map(str, range(200)))).endswith("198/199")
    assert len(shortened("x" * 1000)) == 200
