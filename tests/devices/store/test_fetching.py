"""Releases from a folder and from a web server that cuts, stalls, lies and serves old files."""

import threading
import time
from pathlib import Path

import pytest

from edgecil_devices.errors import (
    BundleCorruptError,
    BundleVersionError,
    FetchError,
    ReleaseError,
    SignatureError,
    StoreWriteError,
)
from edgecil_devices.store import fetching
from edgecil_devices.store.install import install
from edgecil_devices.store.update import update_from
from tests.devices.store.releases import Key, Releases, current, fails, labels, passes
from tests.devices.store.shelf import (
    Shelf,
    cut_after,
    endless,
    endless_after,
    lie_about_length,
    say,
    stall,
)

pytestmark = pytest.mark.usefixtures("quick")

UPDATE, BUNDLE = "release-2-from-1.update", "release-2.edgecil"


def leftovers(store: Path) -> list[Path]:
    return list((store / "incoming").iterdir())


def test_only_the_update_is_fetched(offered: Shelf, store: Path) -> None:
    outcome = update_from(offered.address, store, passes)
    assert outcome is not None
    assert current(store) == labels(2)
    assert offered.asked == [("latest", None), (UPDATE, None)]
    assert leftovers(store) == []


def test_nothing_is_fetched_when_nothing_is_new(
    offered: Shelf, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    update_from(offered.address, store, passes)
    offered.asked.clear()
    assert update_from(offered.address + "/", store, passes) is None
    assert offered.asked == [("latest", None)]
    assert capsys.readouterr().err.endswith("release 2 is the newest, and current\n")


def test_a_folder_will_do(offered: Shelf, store: Path, releases: Releases) -> None:
    (releases.folder / "latest").write_text("2")
    assert update_from(str(releases.folder), store, passes) is not None
    assert current(store) == labels(2)
    assert not (store / "incoming").exists()


def test_the_whole_bundle_is_fetched_where_no_update_fits(offered: Shelf, store: Path) -> None:
    del offered.files[UPDATE]
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)
    assert offered.asked[-2:] == [(UPDATE, None), (BUNDLE, None)]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<!doctype html><title>No such page</title>", "not an edgecil bundle; "),
        (b"\x89edgecil\1\0\0\0", "truncated: it has 12 bytes, "),
    ],
)
def test_the_whole_bundle_is_fetched_where_the_update_is_no_sound_file(
    offered: Shelf, store: Path, capsys: pytest.CaptureFixture[str], body: bytes, why: str
) -> None:
    """A host that answers 200 for what it has not, and an upload that was cut short."""
    offered.files[UPDATE] = body
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)
    assert offered.asked == [("latest", None), (UPDATE, None), (BUNDLE, None)]
    assert leftovers(store) == []
    said = capsys.readouterr().err
    assert f"{UPDATE}: {why}" in said
    assert said.endswith(f"; going on with {BUNDLE}\n")


def test_a_release_that_is_announced_and_missing_is_told_of(offered: Shelf, store: Path) -> None:
    offered.files = {"latest": b"3"}
    with pytest.raises(FetchError, match=r"release-3.edgecil: the server answers 404"):
        update_from(offered.address, store, passes)


def test_a_bucket_that_may_not_be_listed_answers_403_for_what_it_has_not(
    offered: Shelf, store: Path, releases: Releases
) -> None:
    """As S3 does: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html."""
    missed = "release-3-from-1.update"
    offered.files |= {"latest": b"3", "release-3.edgecil": releases.bundle(3).read_bytes()}
    offered.always[missed] = say(403)
    update_from(offered.address, store, passes)
    assert current(store) == labels(3)
    assert [name for name, _ in offered.asked] == ["latest", missed, "release-3.edgecil"]


def test_a_server_that_lets_nobody_in_is_told_of(offered: Shelf, store: Path) -> None:
    offered.always = dict.fromkeys((UPDATE, BUNDLE), say(403))
    with pytest.raises(FetchError, match=r"release-2.edgecil: the server answers 403 Forbidden"):
        update_from(offered.address, store, passes)
    offered.always["latest"] = say(403)
    with pytest.raises(FetchError, match="latest: the server answers 403 Forbidden"):
        update_from(offered.address, store, passes)
    assert current(store) == labels(1)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_server_that_cuts_is_asked_for_the_rest(offered: Shelf, store: Path, count: int) -> None:
    offered.faults[UPDATE] = [cut_after(count)] * 3
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)
    wanted = [None] + [f"bytes={count * k}-" if count else None for k in (1, 2, 3)]
    assert [range_ for name, range_ in offered.asked if name == UPDATE] == wanted


def test_a_server_that_knows_no_ranges_begins_again(offered: Shelf, store: Path) -> None:
    offered.ranges = False
    offered.faults[UPDATE] = [cut_after(100)]
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)


def test_what_has_arrived_is_kept_for_the_next_day(
    offered: Shelf, store: Path, quick: list[float]
) -> None:
    offered.faults[UPDATE] = [cut_after(100)]
    offered.always[UPDATE] = say(503)
    with pytest.raises(FetchError, match=f"{UPDATE}: the server answers 503 .*try again later"):
        update_from(offered.address, store, passes)
    assert [path.stat().st_size for path in leftovers(store)] == [100]
    assert len(quick) == fetching.MOST_FAILURES
    assert all(0 <= pause <= 2.0**k for k, pause in enumerate(quick))
    offered.always.clear()
    offered.asked.clear()
    update_from(offered.address, store, passes)
    assert offered.asked[-1] == (UPDATE, "bytes=100-")
    assert current(store) == labels(2)


def test_what_had_arrived_of_another_file_is_thrown_away(
    offered: Shelf, store: Path, releases: Releases
) -> None:
    (store / "incoming").mkdir()
    (store / "incoming" / UPDATE).write_bytes(b"x" * 10)
    (store / "incoming" / "release-1.edgecil").write_bytes(b"older")
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)
    assert leftovers(store) == []


def test_more_than_there_is_begins_again(offered: Shelf, store: Path) -> None:
    (store / "incoming").mkdir()
    (store / "incoming" / UPDATE).write_bytes(bytes(2**20))
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)


def test_a_server_that_stalls_is_given_up_and_asked_again(
    offered: Shelf, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "STALL_S", 1.0)
    over = threading.Event()
    offered.faults[UPDATE] = [stall(over)]
    start = time.monotonic()
    try:
        update_from(offered.address, store, passes)
    finally:
        over.set()
    assert current(store) == labels(2)
    assert offered.asked.count((UPDATE, None)) >= 2
    assert time.monotonic() - start < fetching.TIME_LIMIT_S / 2


def test_the_server_may_say_how_long_to_wait(
    offered: Shelf, store: Path, quick: list[float]
) -> None:
    offered.faults["latest"] = [say(503, Retry_After="7"), say(429, Retry_After="99999")]
    update_from(offered.address, store, passes)
    assert quick == [7, fetching.LONGEST_PAUSE_S]


def test_a_length_that_is_too_long_is_a_broken_connection(offered: Shelf, store: Path) -> None:
    size = len(offered.files[UPDATE])
    offered.always[UPDATE] = lie_about_length(size + 5)
    with pytest.raises((FetchError, BundleCorruptError)):
        update_from(offered.address, store, passes)
    assert current(store) == labels(1)


@pytest.mark.parametrize("digits", [30, 5000])
def test_a_length_beyond_every_bound_is_refused_in_words(
    offered: Shelf, store: Path, digits: int
) -> None:
    offered.always[UPDATE] = say(200, Content_Length="9" * digits)
    with pytest.raises(FetchError, match=f"{UPDATE} is larger than 512 MiB; offer it smaller"):
        update_from(offered.address, store, passes)
    offered.always["latest"] = say(200, Content_Length="9" * digits)
    with pytest.raises(FetchError, match="latest: the connection broke after 0 of "):
        update_from(offered.address, store, passes)
    assert current(store) == labels(1)


def test_a_length_may_begin_with_zeros(offered: Shelf, store: Path) -> None:
    body = offered.files[UPDATE]
    offered.always[UPDATE] = say(200, body, Content_Length=f"{len(body):05000}")
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)


def test_a_length_that_is_too_short_gives_a_truncated_file(offered: Shelf, store: Path) -> None:
    for name in (UPDATE, BUNDLE):
        offered.always[name] = lie_about_length(len(offered.files[name]) - 5)
    with pytest.raises(BundleCorruptError, match=f"{BUNDLE}: truncated"):
        update_from(offered.address, store, passes)
    assert current(store) == labels(1)
    assert leftovers(store) == []


def test_a8_a_file_without_end_is_cut_off(
    offered: Shelf, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_RELEASE_BYTES", 2**20)
    offered.always[UPDATE] = endless
    with pytest.raises(FetchError, match="is larger than 1 MiB"):
        update_from(offered.address, store, passes)
    assert leftovers(store) == []


def test_a8_a_file_that_is_announced_too_large_is_not_read(
    offered: Shelf, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered.always[UPDATE] = lie_about_length(2**40)
    with pytest.raises(FetchError, match="is larger than 512 MiB"):
        update_from(offered.address, store, passes)
    monkeypatch.setattr(fetching, "MAX_RELEASE_BYTES", 2**50)
    with pytest.raises(StoreWriteError, match=r"needs \d+ bytes, and \d+ are free; make room"):
        update_from(offered.address, store, passes)


@pytest.mark.parametrize(
    ("format_", "kind", "why"),
    [
        (1, SignatureError, "it is signed only by ed25519:"),
        (99, BundleVersionError, "format 99 is newer than this edgecil reads"),
    ],
)
def test_what_cannot_be_taken_is_given_up_before_its_end(
    shelf: Shelf,
    store: Path,
    releases: Releases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_: int,
    kind: type[Exception],
    why: str,
) -> None:
    """Without an end there is no whole file to look at."""
    monkeypatch.setattr(fetching, "MAX_RELEASE_BYTES", 2**20)
    install(releases.bundle(1, Key(1)), store, Key(1).save(tmp_path / "key.pub"), passes)
    strange = releases.bundle(2, Key(2)).read_bytes()
    shelf.files["latest"] = b"2"
    beginning = strange[:8] + format_.to_bytes(4, "little") + strange[12:]
    shelf.always[BUNDLE] = endless_after(beginning)
    with pytest.raises(kind, match=why):
        update_from(shelf.address, store, passes)
    assert current(store) == labels(1)
    assert leftovers(store) == []


@pytest.mark.parametrize("have", [60, 300, -1])
def test_what_is_still_missing_does_not_count_against_a_file(
    offered: Shelf, store: Path, monkeypatch: pytest.MonkeyPatch, have: int
) -> None:
    """What has arrived when it is looked at ends in the header, in the manifest or in a blob."""
    monkeypatch.setattr(fetching, "HEAD_BYTES", 50)
    count = have % len(offered.files[UPDATE])
    offered.faults[UPDATE] = [cut_after(count)]
    update_from(offered.address, store, passes)
    assert current(store) == labels(2)
    assert offered.asked == [("latest", None), (UPDATE, None), (UPDATE, f"bytes={count}-")]


@pytest.mark.parametrize("rubbish", [b"", b"two", b"-1", b"0", b"2 3", b"9" * 65, b"<html>"])
def test_what_is_no_number_is_told_of(offered: Shelf, store: Path, rubbish: bytes) -> None:
    offered.files["latest"] = rubbish
    with pytest.raises(FetchError, match="does not hold a release number"):
        update_from(offered.address, store, passes)


def test_a7_a_number_beyond_all_numbers_is_refused(offered: Shelf, store: Path) -> None:
    offered.files["latest"] = str(2**63).encode()
    with pytest.raises(FetchError, match="does not hold a release number"):
        update_from(offered.address, store, passes)


def test_redirections_in_a_circle_end(offered: Shelf, store: Path) -> None:
    offered.always[UPDATE] = say(302, Location=f"/{UPDATE}")
    with pytest.raises(FetchError, match="302"):
        update_from(offered.address, store, passes)
    assert len(offered.asked) < 20


def test_a_redirection_to_a_file_is_refused(offered: Shelf, store: Path) -> None:
    offered.always["latest"] = say(302, Location="file:///etc/passwd")
    with pytest.raises(FetchError, match="302 .*Redirection to url .file:.* is not allowed"):
        update_from(offered.address, store, passes)


def test_a6_a_server_of_old_files_is_told_of(
    offered: Shelf, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    update_from(offered.address, store, passes)
    offered.files["latest"] = b"1"
    assert update_from(offered.address, store, passes) is None
    assert "offers release 1, older than release 2, which was here" in capsys.readouterr().err
    assert current(store) == labels(2)


def test_a4_an_old_release_under_a_new_name_is_refused(
    offered: Shelf, store: Path, releases: Releases
) -> None:
    update_from(offered.address, store, passes)
    offered.files["latest"] = b"3"
    offered.files["release-3-from-2.update"] = releases.bundle(1).read_bytes()
    with pytest.raises(FetchError, match="release-3-from-2.update holds release 1"):
        update_from(offered.address, store, passes)
    assert current(store) == labels(2)


def test_a_release_that_was_rolled_back_or_failed_is_not_fetched_again(
    offered: Shelf, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ReleaseError, match="failed its self-test"):
        update_from(offered.address, store, fails)
    offered.asked.clear()
    assert update_from(offered.address, store, passes) is None
    assert "failed its self-test here; waiting for a newer one" in capsys.readouterr().err
    assert offered.asked == [("latest", None)]


def test_nobody_there(store: Path, releases: Releases, quick: list[float]) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(FetchError, match=r"latest: no connection \(Connection refused\)"):
        update_from("http://127.0.0.1:1", store, passes)
    assert len(quick) == fetching.MOST_FAILURES - 1


def test_a_folder_that_is_none(store: Path, releases: Releases, tmp_path: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(FetchError, match="No such file or directory; is this a folder of releas"):
        update_from(str(tmp_path), store, passes)


def test_no_address(store: Path, releases: Releases) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(FetchError):
        update_from("http://", store, passes)
