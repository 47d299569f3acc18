"""What has arrived of a release: it is gone on with the next day, and does not fill the card."""

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgecil_devices.errors import FetchError, StoreWriteError
from edgecil_devices.store import fetching
from edgecil_devices.store.folder import SPARE_BYTES
from edgecil_devices.store.update import update_from
from tests.devices.store.releases import Releases, current, labels, passes
from tests.devices.store.shelf import Shelf, cut_after, endless, say

pytestmark = pytest.mark.usefixtures("quick")

UPDATE, BUNDLE = "release-2-from-1.update", "release-2.edgecil"


def leftovers(store: Path) -> list[Path]:
    return list((store / "incoming").iterdir())


@pytest.fixture
def card(store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Makes a card that has room for so many bytes in `incoming`; what was free, when asked."""

    def make(room_bytes: int) -> list[int]:
        free: list[int] = []
        real = shutil.disk_usage

        def usage(folder: Path) -> Any:
            if folder != store / "incoming":
                return real(folder)
            used = sum(path.stat().st_size for path in leftovers(store))
            free.append(SPARE_BYTES + room_bytes - used)
            return SimpleNamespace(free=free[-1])

        monkeypatch.setattr("shutil.disk_usage", usage)
        return free

    return make


def test_a_whole_bundle_is_gone_on_with_where_no_update_fits(offered: Shelf, store: Path) -> None:
    del offered.files[UPDATE]
    offered.faults[BUNDLE] = [cut_after(100)]
    offered.always[BUNDLE] = say(503)
    for day in range(2):  # and another one on which nothing came
        with pytest.raises(FetchError, match=f"{BUNDLE}: the server answers 503"):
            update_from(offered.address, store, passes)
        assert [path.stat().st_size for path in leftovers(store)] == [100], day
    offered.always.clear()
    offered.asked.clear()
    update_from(offered.address, store, passes)
    assert offered.asked == [("latest", None), (UPDATE, None), (BUNDLE, "bytes=100-")]
    assert current(store) == labels(2)
    assert leftovers(store) == []


def test_a_whole_bundle_goes_on_where_the_update_arrives_and_does_not_fit(
    offered: Shelf, store: Path, releases: Releases
) -> None:
    (store / "blobs" / releases.made(1).manifest.trunk.sha256).unlink()
    (store / "incoming").mkdir()
    (store / "incoming" / BUNDLE).write_bytes(offered.files[BUNDLE][:100])
    update_from(offered.address, store, passes)
    assert offered.asked == [("latest", None), (UPDATE, None), (BUNDLE, "bytes=100-")]
    assert current(store) == labels(2)


@pytest.mark.parametrize("room_bytes", [2**20, 2**16])
def test_what_has_arrived_of_the_bundle_goes_once_the_update_is_taken_or_needs_its_room(
    offered: Shelf, store: Path, card: Callable[[int], list[int]], room_bytes: int
) -> None:
    (store / "incoming").mkdir()
    (store / "incoming" / BUNDLE).write_bytes(bytes(2**16 - 1))
    card(room_bytes)
    update_from(offered.address, store, passes)
    assert offered.asked == [("latest", None), (UPDATE, None)]
    assert current(store) == labels(2)
    assert leftovers(store) == []


def test_a8_a_body_without_a_length_does_not_fill_the_card(
    offered: Shelf, store: Path, card: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_RELEASE_BYTES", 2**22)
    offered.always[UPDATE] = endless
    free = card(300_000)
    with pytest.raises(StoreWriteError, match=r"needs \d+ bytes, and \d+ are free; make room"):
        update_from(offered.address, store, passes)
    assert leftovers(store) == []
    assert min(free) >= SPARE_BYTES


def test_what_has_arrived_goes_where_there_is_no_room_for_the_rest(
    offered: Shelf, store: Path, card: Callable[[int], list[int]]
) -> None:
    (store / "incoming").mkdir()
    (store / "incoming" / UPDATE).write_bytes(offered.files[UPDATE][:100])
    card(len(offered.files[UPDATE]) - 1)
    with pytest.raises(StoreWriteError, match="make room"):
        update_from(offered.address, store, passes)
    assert leftovers(store) == []
    card(len(offered.files[UPDATE]))
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)


@pytest.mark.parametrize(("number", "left"), [(errno.ENOSPC, []), (errno.EIO, [100])])
def test_what_has_arrived_goes_where_others_have_filled_the_disk_meanwhile(
    offered: Shelf, store: Path, monkeypatch: pytest.MonkeyPatch, number: int, left: list[int]
) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(number, os.strerror(number))

    def full(path: Path, mode: str, opener: Any) -> Full:
        return Full(path, mode, opener=opener)

    (store / "incoming").mkdir()
    (store / "incoming" / UPDATE).write_bytes(offered.files[UPDATE][:100])
    monkeypatch.setattr(fetching, "open", full, raising=False)
    with pytest.raises(StoreWriteError, match=os.strerror(number)):
        update_from(offered.address, store, passes)
    assert [path.stat().st_size for path in leftovers(store)] == left
