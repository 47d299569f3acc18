"""Attacks on a store, named after their cases: each is refused, and the classifier goes on."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgecil_devices.errors import (
    BundleCorruptError,
    BundleError,
    ReleaseError,
    SignatureError,
    StoreError,
)
from edgecil_devices.package import pack, read_package
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current
from edgecil_devices.store.records import Release, StoreState
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.status import read_status
from edgecil_devices.store.update import update, update_from
from edgecil_devices.store.updating import MOST_AHEAD
from tests.devices.store.releases import Key, Made, Releases, fails, labels, passes
from tests.devices.test_bundle import with_manifest

OURS, THEIRS, NEXT = Key(1), Key(2), Key(3)


@pytest.fixture
def trusting(releases: Releases, store: Path, tmp_path: Path) -> Path:
    """A store that trusts one key, with release 5."""
    key = OURS.save(tmp_path / "key.pub")
    install(releases.bundle(5, OURS), store, key, passes)
    return store


def current(store: Path) -> tuple[str, ...]:
    assert check(store) == []
    return read_current(store).bundle.manifest.classes


def refused(path: Path, store: Path, kind: type[Exception], why: str, number: int = 5) -> None:
    before = sorted(os.listdir(store / "blobs"))
    with pytest.raises(kind, match=why):
        update(path, store, test=passes)
    with pytest.raises(kind, match=why):
        install(path, store, test=passes)
    assert current(store) == labels(number)
    assert sorted(os.listdir(store / "blobs")) == before


def test_a1_what_nobody_signed_is_refused(releases: Releases, trusting: Path) -> None:
    refused(releases.bundle(6), trusting, SignatureError, "it is signed by nobody")
    refused(releases.update(6, 5), trusting, SignatureError, "it is signed by nobody")


def test_a1_what_nobody_signed_is_refused_unread(trusting: Path, tmp_path: Path) -> None:
    path = tmp_path / "nonsense"
    path.write_bytes(with_manifest(b"not a manifest at all"))
    refused(path, trusting, SignatureError, "it is signed by nobody")


def test_a1_what_somebody_else_signed_is_refused(releases: Releases, trusting: Path) -> None:
    refused(releases.bundle(6, THEIRS), trusting, SignatureError, "only by ed25519:")


def test_a1_a_signature_of_another_manifest_is_refused(releases: Releases, trusting: Path) -> None:
    six, seven = read_package(releases.bundle(6, OURS)), releases.made(7)
    path = releases.folder / "forged"
    path.write_bytes(pack(seven.manifest, seven.blobs, signatures=six.signatures))
    refused(path, trusting, SignatureError, "is not of this manifest; somebody changed it")


def test_a1_a_new_store_that_trusts_takes_nothing_unsigned(
    releases: Releases, store: Path, tmp_path: Path
) -> None:
    key = OURS.save(tmp_path / "key.pub")
    with pytest.raises(SignatureError):
        install(releases.bundle(1), store, key, passes)
    assert not store.exists()


def test_a1_trust_cannot_be_talked_away(releases: Releases, trusting: Path, tmp_path: Path) -> None:
    theirs = THEIRS.save(tmp_path / "their.pub")
    with pytest.raises(StoreError, match="trusts another key already; a release that brings new"):
        install(releases.bundle(6, THEIRS), trusting, theirs, passes)
    assert current(trusting) == labels(5)


def test_a_store_that_trusts_nobody_stays_so(
    releases: Releases, store: Path, tmp_path: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(StoreError, match="was made without --trust; trust a key in a new store"):
        install(releases.bundle(2, OURS), store, OURS.save(tmp_path / "key.pub"), passes)
    install(releases.bundle(2, OURS), store, test=passes)  # a signature does no harm


def test_a_store_that_cannot_be_taught_stays_so_with_new_keys(
    releases: Releases, store: Path, tmp_path: Path
) -> None:
    key = OURS.save(tmp_path / "key.pub")
    install(releases.bundle(1, OURS), store, key, passes, no_teach=True)
    update(releases.bundle(2, OURS, keys=(NEXT.text,)), store, test=passes)
    assert not StoreState.read(store / "state.json").teaching


def test_a2_no_byte_can_be_changed(releases: Releases, trusting: Path) -> None:
    """Every 13th here; `read_package` is tried with each."""
    path = releases.update(6, 5, OURS)
    good = path.read_bytes()
    for index in range(0, len(good), 13):
        bad = bytearray(good)
        bad[index] ^= 1 << (index % 8)
        path.write_bytes(bad)
        with pytest.raises(BundleError):
            update(path, trusting, test=passes)
    assert current(trusting) == labels(5)
    path.write_bytes(good)
    update(path, trusting, test=passes)
    assert current(trusting) == labels(6)


def test_a2_a_file_that_is_cut_is_refused(releases: Releases, trusting: Path) -> None:
    path = releases.update(6, 5, OURS)
    good = path.read_bytes()
    for length in range(0, len(good), 13):
        path.write_bytes(good[:length])
        with pytest.raises(BundleCorruptError):
            update(path, trusting, test=passes)
    assert current(trusting) == labels(5)


def test_a2_bytes_after_the_end_are_refused(releases: Releases, trusting: Path) -> None:
    path = releases.update(6, 5, OURS)
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, trusting, BundleCorruptError, "1 bytes too many after the end")


def swap_while_it_is_tested(path: Path, other: bytes) -> Callable[[Path, Release], str | None]:
    """A self-test during which somebody changes the file that is being installed."""

    def test(store: Path, release: Release) -> str | None:
        path.write_bytes(other)
        return passes(store, release)

    return test


def test_a3_a_file_that_is_swapped_after_the_check_changes_nothing(
    releases: Releases, trusting: Path
) -> None:
    path, other = releases.bundle(6, OURS), releases.bundle(7, THEIRS).read_bytes()
    update(path, trusting, test=swap_while_it_is_tested(path, other))
    assert current(trusting) == labels(6)


def test_a3_a_blob_that_is_swapped_in_the_store_does_not_pass(
    releases: Releases, trusting: Path
) -> None:
    head = releases.made(6).manifest.head.sha256

    def swap(store: Path, release: Release) -> str | None:
        (store / "blobs" / head).write_bytes(b"another head")
        return passes(store, release)

    with pytest.raises(ReleaseError, match="failed its self-test: .*is damaged"):
        update(releases.update(6, 5, OURS), trusting, test=swap)
    assert current(trusting) == labels(5)


def test_a4_an_older_release_is_refused_however_well_signed(
    releases: Releases, trusting: Path
) -> None:
    refused(releases.bundle(4, OURS), trusting, ReleaseError, "4 is not newer than release 5")


def test_a4_a_rollback_does_not_lower_the_floor(releases: Releases, trusting: Path) -> None:
    update(releases.update(8, 5, OURS), trusting, test=passes)
    rollback(trusting, passes)
    refused(releases.bundle(7, OURS), trusting, ReleaseError, "7 is not newer than release 8")


def test_a4_the_same_number_for_something_else_is_refused(
    releases: Releases, trusting: Path
) -> None:
    path = releases.bundle(5, OURS, versions={"edgecil": "another"})
    refused(path, trusting, ReleaseError, "release 5 is not newer than release 5")


def test_a4_a_signed_bundle_without_a_number_is_refused(releases: Releases, trusting: Path) -> None:
    refused(releases.bundle(None, OURS), trusting, ReleaseError, "it has no release number")


def test_a5_an_update_on_another_base_is_refused(releases: Releases, trusting: Path) -> None:
    """What its base had and this store has not is missing; nothing else is put in its place."""
    made = releases.made(7)
    only_head = {made.manifest.head.name: made.blobs[made.manifest.head.name]}
    signatures = OURS.sign(made.manifest.to_json())
    path = releases.folder / "mixed.update"
    path.write_bytes(pack(made.manifest, only_head, signatures=signatures, base="a" * 64))
    refused(path, trusting, ReleaseError, "builds on another release than 5")


def test_a5_blocks_of_two_releases_make_no_third(releases: Releases, trusting: Path) -> None:
    """The manifest of one, a block of another: no key of ours signs that."""
    six, seven = releases.made(6), releases.made(7)
    mixed = replace(six.manifest, blobs=(*six.manifest.blobs[:-1], seven.manifest.head), release=9)
    blobs = six.blobs | {seven.manifest.head.name: seven.blobs[seven.manifest.head.name]}
    signatures = OURS.sign(six.manifest.to_json())
    path = releases.folder / "mixed.edgecil"
    path.write_bytes(pack(mixed, blobs, signatures=signatures))
    refused(path, trusting, SignatureError, "is not of this manifest")


def test_a6_a_release_that_should_have_been_followed_is_shown(
    releases: Releases, trusting: Path
) -> None:
    update(releases.update(6, 5, OURS, expires="2020-02-29"), trusting, test=passes)
    status = read_status(trusting)
    assert status.expired
    assert any("it expired on 2020-02-29; do updates still arrive?" in s for s in status.lines())
    update(releases.update(7, 6, OURS, expires="9999-12-31"), trusting, test=passes)
    assert not read_status(trusting).expired


def test_a7_a_number_far_ahead_is_refused_in_an_update(releases: Releases, trusting: Path) -> None:
    far = 5 + MOST_AHEAD + 1
    refused(releases.update(far, 5, OURS), trusting, ReleaseError, "too far ahead of release 5")
    update(releases.update(far - 1, 5, OURS), trusting, test=passes)
    assert current(trusting) == labels(far - 1)


def test_a7_a_whole_bundle_may_be_far_ahead_as_a_person_chose_it(
    releases: Releases, trusting: Path
) -> None:
    install(releases.bundle(2**53 - 1, OURS), trusting, test=passes)
    assert current(trusting) == labels(2**53 - 1)


def test_a7_releases_numbered_by_the_clock_come_by_themselves_as_whole_bundles(
    releases: Releases, trusting: Path
) -> None:
    for number, before in ((1_760_000_000, 5), (1_762_592_000, 1_760_000_000)):  # a month apart
        releases.update(number, before, OURS)
        releases.bundle(number, OURS)
        (releases.folder / "latest").write_text(str(number))
        update_from(str(releases.folder), trusting, passes)
        assert current(trusting) == labels(number)


def test_a7_by_itself_no_release_leaves_no_room_for_later_ones(
    releases: Releases, trusting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 2^53 - 1 numbers half can be skipped at once, the others a million at a time."""
    half = 4_503_599_627_370_496
    for number, taken in (
        (2**53 - 1, False),
        (half + 1, False),
        (half, True),
        (half + 1_000_001, False),
        (half + 1_000_000, True),
    ):
        before = current(trusting)
        releases.bundle(number, OURS)
        (releases.folder / "latest").write_text(str(number))
        outcome = update_from(str(releases.folder), trusting, passes)
        said = capsys.readouterr().err
        assert (outcome is not None) == taken
        assert ("install its whole bundle if it is right" in said) != taken
        assert current(trusting) == (labels(number) if taken else before)


def test_a9_names_in_a_manifest_are_no_paths(releases: Releases, trusting: Path) -> None:
    update(releases.update(6, 5, OURS), trusting, test=passes)
    for path in trusting.rglob("*"):
        known = path.name in {"lock", "state.json", "current", "blobs"}
        assert known or (len(path.name) == 64 and set(path.name) <= set("0123456789abcdef"))


def test_a17_a_release_may_bring_new_keys_and_then_only_they_count(
    releases: Releases, trusting: Path
) -> None:
    update(releases.update(6, 5, OURS, keys=(NEXT.text,)), trusting, test=passes)
    assert StoreState.read(trusting / "state.json").keys == (NEXT.text,)
    refused(releases.bundle(7, OURS), trusting, SignatureError, "only by ed25519:", number=6)
    update(releases.update(7, 6, NEXT), trusting, test=passes)
    assert current(trusting) == labels(7)


def _spoil(store: Path, made: Made) -> Path:
    head = store / "blobs" / made.manifest.head.sha256
    head.write_bytes(b"rotten")
    assert len(check(store)) == 1
    return head


def test_a17_the_release_that_brought_new_keys_can_be_repaired(
    releases: Releases, trusting: Path
) -> None:
    rotating = releases.bundle(6, OURS, keys=(NEXT.text,))
    update(rotating, trusting, test=passes)
    head = _spoil(trusting, releases.made(6))
    before = (trusting / "state.json").read_bytes()
    for way in (install, update):
        head.write_bytes(b"rotten")
        outcome = way(rotating, trusting, test=fails)
        assert (outcome.changed, outcome.release.number) == (False, 6)
        assert current(trusting) == labels(6)
    assert (trusting / "state.json").read_bytes() == before


def test_a17_the_release_that_brought_new_keys_is_repaired_by_the_timer(
    releases: Releases, trusting: Path, tmp_path: Path
) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    (offered / "latest").write_text("6")
    keys = (NEXT.text,)
    another = releases.bundle(6, OURS, keys=keys, versions={"edgecil": "another"}).read_bytes()
    rotating = releases.bundle(6, OURS, keys=keys)
    update(rotating, trusting, test=passes)
    head = _spoil(trusting, releases.made(6))
    (offered / "release-6.edgecil").write_bytes(another)  # by the key that is trusted no more
    with pytest.raises(SignatureError, match="only by ed25519:"):
        update_from(str(offered), trusting, fails)
    assert head.read_bytes() == b"rotten"
    (offered / "release-6.edgecil").write_bytes(rotating.read_bytes())
    update_from(str(offered), trusting, fails)
    assert current(trusting) == labels(6)


def test_a17_the_release_before_the_new_keys_can_be_repaired(
    releases: Releases, trusting: Path
) -> None:
    update(releases.bundle(6, OURS, keys=(NEXT.text,)), trusting, test=passes)
    made = releases.made(5)
    _spoil(trusting, made)
    size_bytes = len(made.blobs[made.manifest.head.name])
    before = (trusting / "state.json").read_bytes()
    with pytest.raises(ReleaseError, match=f"the previous one here; {size_bytes} damaged bytes"):
        install(releases.bundle(5, OURS), trusting, test=fails)
    assert current(trusting) == labels(6)
    assert (trusting / "state.json").read_bytes() == before


def test_a17_a_repair_lets_nothing_else_of_an_old_key_in(
    releases: Releases, trusting: Path
) -> None:
    """Another release of the same number, one older than both, one newer; and other blobs."""
    update(releases.bundle(6, OURS, keys=(NEXT.text,)), trusting, test=passes)
    update(releases.bundle(7, NEXT), trusting, test=passes)
    stranger = "only by ed25519:"
    changed = {"keys": (NEXT.text,), "versions": {"edgecil": "another"}}
    refused(releases.bundle(6, OURS, **changed), trusting, SignatureError, stranger, number=7)
    refused(releases.bundle(7, OURS, expires="2099-01-01"), trusting, SignatureError, stranger, 7)
    refused(releases.bundle(5, OURS), trusting, SignatureError, stranger, number=7)
    refused(releases.bundle(8, OURS), trusting, SignatureError, stranger, number=7)
    path = releases.bundle(6, OURS, keys=(NEXT.text,))
    with_another_head = bytearray(path.read_bytes())
    with_another_head[-1] ^= 1
    path.write_bytes(with_another_head)
    refused(path, trusting, BundleCorruptError, "is damaged: its sha256 is", number=7)


def test_a17_a_refused_release_is_vouched_for_by_nobody(releases: Releases, trusting: Path) -> None:
    """What failed its self-test was never committed, so it needs a signature like any other."""
    with pytest.raises(ReleaseError, match="failed its self-test"):
        update(releases.bundle(6, OURS), trusting, test=fails)
    assert StoreState.read(trusting / "state.json").refused is not None
    refused(releases.bundle(6), trusting, SignatureError, "it is signed by nobody")


def test_a17_new_keys_of_somebody_else_are_refused(releases: Releases, trusting: Path) -> None:
    path = releases.bundle(6, THEIRS, keys=(THEIRS.text,))
    refused(path, trusting, SignatureError, "only by ed25519:")
    assert StoreState.read(trusting / "state.json").keys == (OURS.text,)


def test_a17_a_release_that_fails_brings_no_keys(releases: Releases, trusting: Path) -> None:
    with pytest.raises(ReleaseError, match="failed its self-test"):
        update(releases.bundle(6, OURS, keys=(THEIRS.text,)), trusting, test=fails)
    assert StoreState.read(trusting / "state.json").keys == (OURS.text,)


def test_a17_a_rollback_does_not_bring_old_keys_back(releases: Releases, trusting: Path) -> None:
    update(releases.bundle(6, OURS, keys=(NEXT.text,)), trusting, test=passes)
    rollback(trusting, passes)
    rollback(trusting, passes)
    assert StoreState.read(trusting / "state.json").keys == (NEXT.text,)


def test_a17_a_rollback_brings_no_keys_of_the_older_release_back(
    releases: Releases, trusting: Path
) -> None:
    update(releases.bundle(6, OURS, keys=(NEXT.text,)), trusting, test=passes)
    update(releases.bundle(7, NEXT, keys=(THEIRS.text,)), trusting, test=passes)
    rollback(trusting, passes)
    assert StoreState.read(trusting / "state.json").keys == (THEIRS.text,)
    refused(releases.bundle(8, NEXT), trusting, SignatureError, "only by ed25519:", number=6)


def test_a17_a_store_that_trusts_nobody_takes_no_keys_from_a_release(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1, keys=(THEIRS.text,)), store, test=passes)
    assert StoreState.read(store / "state.json").keys is None
