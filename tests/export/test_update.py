"""A run of two tasks, exported after each: releases, their numbers, and the update between them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgecil.data import DATASETS, ImageDataset, load_folder
from edgecil.errors import ExportError, UsageError
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State
from edgecil.networks import ExpandableNetwork
from edgecil_devices.bundle import complete, read_bundle
from edgecil_devices.errors import ReleaseError
from edgecil_devices.manifest import Accuracy
from edgecil_devices.package import pack, read_package
from edgecil_devices.selftest import self_test
from edgecil_devices.signing import KeySet, signers, verify
from edgecil_devices.store.install import install
from edgecil_devices.store.records import StoreState
from edgecil_devices.store.update import update as take
from edgecil_export import ExportRequest, export, exporter
from edgecil_export.accuracy_loss import AccuracyLoss
from edgecil_export.keys import new_key
from edgecil_export.releases import bundle_of
from edgecil_export.update import make_update
from tests.crash.recording import left_by_a_dead_process
from tests.devices.conftest import TinyNetwork
from tests.devices.conftest import tiny as tiny
from tests.devices.store.releases import Key, Made, Releases, labels, passes
from tests.export.conftest import CLASSES, SETTINGS, after_first_task, edgecil
from tests.export.test_accuracy_loss import folder_with, settings_with


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "k")
    return tmp_path / "k"


@pytest.fixture
def earlier(run: Path, network: ExpandableNetwork, exemplars: ExemplarSet, tmp_path: Path) -> Path:
    return after_first_task(SETTINGS, network, exemplars, tmp_path / "earlier")


def exported(run: Path, out: Path, weights: str = "fp32", **release: Any) -> Path:
    export(run, out, ExportRequest(weights=weights, **release))
    return out


# Releases


def test_a_signed_bundle_is_verified_by_the_public_key_and_passes_its_self_test(
    run: Path, key: Path
) -> None:
    bundle = exported(run, run / "x.edgecil", sign=(key,))
    package = read_package(bundle)
    keys = KeySet.parse([Path(f"{key}.pub").read_text().strip()])
    verify(package.manifest_json, package.signatures, keys)
    assert package.manifest.release == 1
    found = self_test(read_bundle(bundle), threads=1)
    assert found.samples == 3
    assert found.max_difference < 1e-5


def test_the_same_content_gets_the_same_number_and_bytes(run: Path, key: Path) -> None:
    first = exported(run, run / "a", sign=(key,)).read_bytes()
    assert exported(run, run / "b", sign=(key,)).read_bytes() == first
    assert exported(run, run / "c", "fp16", sign=(key,)).read_bytes() != first
    assert read_package(run / "c").manifest.release == 2


def test_a_plain_bundle_has_no_number_and_leaves_no_record(run: Path) -> None:
    bundle = exported(run, run / "x")
    assert read_package(bundle).manifest.release is None
    assert read_package(bundle).signatures == b""
    assert not (run / "releases.json").exists()


def test_numbers_go_on_from_the_highest_that_was_used(run: Path, key: Path) -> None:
    exported(run, run / "a", sign=(key,), release=41)
    exported(run, run / "b", "fp16", sign=(key,), release=7)
    assert read_package(exported(run, run / "c", "int8", sign=(key,))).manifest.release == 42


def test_after_the_last_number_there_is_none(run: Path, key: Path) -> None:
    exported(run, run / "a", sign=(key,), release=2**53 - 1)
    with pytest.raises(ExportError, match=f"release {2**53 - 1} is the last there can be"):
        exported(run, run / "b", "fp16", sign=(key,))
    (run / "releases.json").unlink()  # as it says
    assert read_package(exported(run, run / "b", "fp16", sign=(key,))).manifest.release == 1
    with pytest.raises(ExportError, match=f"release {2**53 - 1} is the last there can be"):
        exported(run, run / "c", sign=(key,), above=2**53 - 1)
    for impossible in (0, 2**53):
        with pytest.raises(UsageError, match=f"--release is a number from 1 to .*not {impossible}"):
            exported(run, run / "b", sign=(key,), release=impossible)


def test_a_damaged_record_asks_for_a_number(run: Path, key: Path) -> None:
    (run / "releases.json").write_text("{")
    with pytest.raises(ExportError, match="give --release with a number above"):
        exported(run, run / "x", sign=(key,))
    exported(run, run / "x", sign=(key,), release=12)
    assert read_package(exported(run, run / "y", "fp16", sign=(key,))).manifest.release == 13


def test_new_keys_and_a_day_are_in_the_signed_manifest(run: Path, key: Path) -> None:
    text = new_key(run.parent / "next")
    bundle = exported(
        run, run / "x", sign=(key,), new_keys=run.parent / "next.pub", expires="2027-06-30"
    )
    manifest = read_package(bundle).manifest
    assert (manifest.keys, manifest.expires) == ((text,), "2027-06-30")
    with pytest.raises(UsageError, match="--expires is a day such as .* not '2027-02-30'"):
        exported(run, run / "y", sign=(key,), expires="2027-02-30")


def test_a_release_that_both_keys_signed_is_taken_by_devices_that_missed_the_new_one(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    newer, public = tmp_path / "newer", tmp_path / "newer.pub"
    text = new_key(newer)
    one = exported(earlier, tmp_path / "1", sign=(key,), release=1)
    two = exported(earlier, tmp_path / "2", sign=(key,), new_keys=public, release=2)
    asked = ExportRequest(sign=(key, newer), new_keys=public, release=3)
    make_update(run, one, tmp_path / "u", asked, tmp_path / "3")
    three = read_package(tmp_path / "3")
    assert signers(three.signatures) == (Path(f"{key}.pub").read_text().strip(), text)
    for has, brought in (([one], "3"), ([one], "u"), ([one, two], "3"), ([one, two], "u")):
        store = tmp_path / f"store-{len(has)}-{brought}"
        install(one, store, Path(f"{key}.pub"), passes)
        for missed in has[1:]:
            install(missed, store, test=passes)
        assert take(tmp_path / brought, store, passes).release.number == 3
        assert StoreState.read(store / "state.json").keys == (text,)


def test_a_release_has_room_for_sixteen_signatures(key: Path) -> None:
    assert len(ExportRequest(sign=(key,) * 16).sign) == 16
    with pytest.raises(UsageError, match="room for 16 signatures; give fewer --sign than 17"):
        ExportRequest(sign=(key,) * 17)


# Updates


@pytest.mark.parametrize("weights", ["fp32", "fp16", "int8"])
def test_an_update_and_its_base_are_the_new_bundle_byte_for_byte(
    run: Path, earlier: Path, key: Path, tmp_path: Path, weights: str
) -> None:
    base = exported(earlier, tmp_path / "1", weights, sign=(key,))
    whole = tmp_path / "2"
    left = left_by_a_dead_process(tmp_path / "u")
    report = make_update(run, base, tmp_path / "u", ExportRequest(sign=(key,)), whole)
    assert not left.exists()
    assert list(report.carried) == ["block-01.onnx", "head.npy", "golden-logits.npy"]

    update, old, new = (read_package(path) for path in (tmp_path / "u", base, whole))
    assert (new.manifest.weights, new.manifest.release) == (weights, 2)
    assert (update.base, update.signatures) == (old.manifest_sha256, new.signatures)
    bundle = complete(update, old.blobs)
    assert pack(bundle.manifest, bundle.blobs, signatures=update.signatures) == whole.read_bytes()
    assert report.size_bytes == (tmp_path / "u").stat().st_size < 0.65 * report.whole_bytes
    self_test(bundle, threads=1)


def test_two_bundles_make_the_same_update_as_a_run_and_a_bundle(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    base = exported(earlier, tmp_path / "1", sign=(key,))
    make_update(run, base, tmp_path / "a", ExportRequest(sign=(key,)), tmp_path / "2")
    make_update(tmp_path / "2", base, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(UsageError, match="is a finished bundle"):
        make_update(tmp_path / "2", base, tmp_path / "b", ExportRequest(sign=(key,)))
    with pytest.raises(UsageError, match="is an update; give the whole bundle"):
        make_update(run, tmp_path / "a", tmp_path / "c", ExportRequest(sign=(key,)))


def test_an_update_gets_no_number_that_another_release_of_the_run_has(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    base = exported(earlier, tmp_path / "1", sign=(key,))
    exported(run, tmp_path / "2", "fp16", sign=(key,))
    exported(run, tmp_path / "3", "int8", sign=(key,), release=9)

    def number() -> int | None:
        update = make_update(run, base, tmp_path / "u", ExportRequest(sign=(key,)))
        return update.manifest.release

    assert number() == 10  # in fp32, which is another content than that of release 9
    assert number() == 10  # what devices have as release 10 is this very content
    asked = ExportRequest(sign=(key,), release=4)
    assert make_update(run, base, tmp_path / "u", asked).manifest.release == 4


def test_an_update_of_plain_bundles_has_no_number(run: Path, earlier: Path, tmp_path: Path) -> None:
    base = exported(earlier, tmp_path / "1")
    report = make_update(run, base, tmp_path / "u")
    assert report.manifest.release is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "earlier", "run", "u"]


def test_a_signed_base_wants_a_signed_update(run: Path, earlier: Path, key: Path) -> None:
    base = exported(earlier, run / "1", sign=(key,))
    with pytest.raises(UsageError, match="give --sign KEY"):
        make_update(run, base, run / "u")
    new = exported(run, run / "2", release=2)
    with pytest.raises(ExportError, match="is signed, so devices want a signature; export with"):
        make_update(new, base, run / "u")
    assert not (run / "u").exists()


def test_an_unrelated_bundle_is_no_base(run: Path, earlier: Path, key: Path) -> None:
    base = read_package(exported(earlier, run / "1", sign=(key,)))
    other = replace(base.manifest, classes=("pea", "oat", "rye"))
    (run / "other").write_bytes(pack(other, complete(base, {}).blobs, signatures=base.signatures))
    with pytest.raises(ExportError, match="knows other classes, so it is of another run"):
        make_update(run, run / "other", run / "u", ExportRequest(sign=(key,)))
    assert not (run / "u").exists()


def test_an_update_goes_up_and_brings_something(run: Path, earlier: Path, key: Path) -> None:
    base = exported(earlier, run / "1", sign=(key,), release=5)
    new = exported(run, run / "2", sign=(key,), release=5)
    with pytest.raises(ExportError, match="release 5 is not above release 5"):
        make_update(new, base, run / "u")
    again = exported(earlier, run / "3", sign=(key,), release=6)
    with pytest.raises(ExportError, match="there is nothing new in it"):
        make_update(again, base, run / "u")
    assert not (run / "u").exists()


@pytest.fixture
def releases(tiny: TinyNetwork, tmp_path: Path) -> Releases:
    return Releases(tiny, tmp_path / "releases")


def test_what_devices_cannot_take_as_an_update_they_take_whole_as_it_says(
    releases: Releases, tmp_path: Path
) -> None:
    out, one = tmp_path / "u", releases.bundle(1)
    plain = releases.bundle(None, classes=labels(1))
    for base, new, why in (
        (
            plain,
            releases.bundle(2, classes=labels(1)),
            "release-None.edgecil has no release number, so",
        ),
        (one, releases.bundle(3), "release-1.edgecil knows other classes, so it is of another run"),
    ):
        with pytest.raises(ExportError, match=f"{why}.*, or let devices take the whole bundle$"):
            make_update(new, base, out)
        store = tmp_path / f"store-{base.name}"
        install(base, store, test=passes)
        assert install(new, store, test=passes).changed
    with pytest.raises(ExportError, match="-None.edgecil has no .* with a --release above 1$"):
        make_update(plain, one, out)
    make_update(releases.bundle(2, classes=labels(1)), one, out)
    install(one, tmp_path / "store", test=passes)
    assert take(out, tmp_path / "store", passes).release.number == 2


def test_a_release_that_brings_keys_alone_is_taken_whole_as_it_says(
    releases: Releases, tmp_path: Path
) -> None:
    old, new = Key(1), Key(2)
    one, made = releases.bundle(1, old), releases.made(1)
    turned = Made(replace(made.manifest, release=2, keys=(new.text,)), made.blobs)
    two = releases._save("turned.edgecil", turned, made.blobs, old, None)
    with pytest.raises(ExportError, match="nothing new in it.* keys .* take the whole bundle$"):
        make_update(two, one, tmp_path / "u")
    install(one, tmp_path / "store", old.save(tmp_path / "old.pub"), passes)
    install(two, tmp_path / "store", test=passes)
    assert install(releases.bundle(3, new), tmp_path / "store", test=passes).changed


def test_where_the_update_cannot_be_is_said_before_a_run_is_exported(
    run: Path, releases: Releases, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="u cannot be written; name a file in a folder that"):
        make_update(run, releases.bundle(1), tmp_path / "none" / "u")
    assert not (run / "releases.json").exists()


def test_a_release_is_found_by_its_number_while_its_bundle_is_there(
    releases: Releases, tmp_path: Path
) -> None:
    one = releases.bundle(1)
    data = {"bundles": {"1": str(one), "2": str(tmp_path / "2.edgecil")}}
    (tmp_path / "releases.json").write_text(json.dumps(data))
    assert bundle_of(tmp_path, 1) == one
    with pytest.raises(ExportError, match="2.edgecil, which is gone; give its bundle"):
        bundle_of(tmp_path, 2)
    with pytest.raises(ExportError, match="release 3 was not exported from this run"):
        bundle_of(tmp_path, 3)


@pytest.mark.parametrize(
    ("number", "holds"), [(2, "release 2"), (None, "a bundle without a number")]
)
def test_a_bundle_that_another_was_written_over_is_not_taken_for_it(
    releases: Releases, tmp_path: Path, number: int | None, holds: str
) -> None:
    """As by two exports without --out, which both write RUN.edgecil."""
    place = releases.bundle(1)
    (tmp_path / "releases.json").write_text(json.dumps({"bundles": {"1": str(place)}}))
    place.write_bytes(releases.bundle(number).read_bytes())
    why = f"release 1 was written to {place}, which holds {holds} now; give its bundle to --since"
    with pytest.raises(ExportError) as caught:
        bundle_of(tmp_path, 1)
    assert str(caught.value) == why


def recorded(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "releases.json").read_text()))


def test_a_kept_bundle_is_found_whatever_is_made_of_its_release_later(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    older = exported(earlier, tmp_path / "7", sign=(key,), release=7)
    kept = exported(run, tmp_path / "9", sign=(key,), release=9)
    before = recorded(run)
    for name in ("u", "again"):
        report = make_update(run, older, tmp_path / name, ExportRequest(sign=(key,)))
        assert report.manifest.release == 9
        assert recorded(run) == before
    assert bundle_of(run, 9) == kept
    make_update(run, older, tmp_path / "u", ExportRequest(sign=(key,)), tmp_path / "9b")
    assert bundle_of(run, 9).read_bytes() == kept.read_bytes()
    assert bundle_of(run, 9) == tmp_path / "9b"


def test_of_a_release_without_a_bundle_no_place_is_noted(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    older = exported(earlier, tmp_path / "7", sign=(key,), release=7)
    make_update(run, older, tmp_path / "u", ExportRequest(sign=(key,)))
    assert recorded(run)["bundles"] == {"8": None}
    with pytest.raises(ExportError, match="release 8 was made without --bundle, .* an older one"):
        bundle_of(run, 8)
    # What is at the place of another content of that number is not this release.
    exported(run, tmp_path / "9", "fp16", sign=(key,), release=9)
    make_update(run, older, tmp_path / "u", ExportRequest(sign=(key,), release=9))
    with pytest.raises(ExportError, match="release 9 was made without --bundle"):
        bundle_of(run, 9)


def test_an_update_since_an_older_release_fits_devices_that_have_had_one_since(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    """As is advised where the bundle that they have was not kept."""
    older = exported(earlier, tmp_path / "1", sign=(key,))
    install(older, tmp_path / "store", Path(f"{key}.pub"), passes)
    for number in (2, 3):
        asked = ExportRequest(sign=(key,), expires=f"203{number}-01-01")
        make_update(run, older, tmp_path / "u", asked)
        assert take(tmp_path / "u", tmp_path / "store", passes).release.number == number


def test_what_devices_would_not_take_from_an_update_is_not_made(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    older = exported(earlier, tmp_path / "5", sign=(key,), release=5)
    install(older, tmp_path / "store", Path(f"{key}.pub"), passes)
    far = exported(run, tmp_path / "far", sign=(key,), release=1_000_006)
    (run / "releases.json").unlink()
    much = "is more than 1,000,000 above release 5, .* --release of at most 1000005, or .* bundle"
    asked = ExportRequest(sign=(key,), release=1_000_006)
    with pytest.raises(ExportError, match=f"release 1000006 {much}"):
        make_update(run, older, tmp_path / "u", asked, tmp_path / "whole")
    assert not (run / "releases.json").exists()  # or all that follow would be as far
    with pytest.raises(ExportError, match=f"release 1000006 {much}"):
        make_update(far, older, tmp_path / "u")
    assert not (tmp_path / "u").exists()
    assert not (tmp_path / "whole").exists()

    # The devices' own bound is the same: one less they take, this they do not.
    new, old = read_package(far), read_package(older)
    carried = {name: data for name, data in complete(new, {}).blobs.items() if "head" in name}
    (tmp_path / "cut").write_bytes(
        pack(new.manifest, carried, signatures=new.signatures, base=old.manifest_sha256)
    )
    with pytest.raises(ReleaseError, match="too far ahead of release 5"):
        take(tmp_path / "cut", tmp_path / "store", passes)
    make_update(run, older, tmp_path / "u", replace(asked, release=1_000_005))
    assert take(tmp_path / "u", tmp_path / "store", passes).release.number == 1_000_005


def test_a_run_whose_last_number_is_far_ahead_says_so_before_it_counts_on(
    run: Path, earlier: Path, key: Path, tmp_path: Path
) -> None:
    older = exported(earlier, tmp_path / "5", sign=(key,), release=5)
    exported(run, tmp_path / "x", "fp16", sign=(key,), release=1_764_547_200)
    before = recorded(run)
    with pytest.raises(ExportError, match="release 1764547201 is more than 1,000,000 above"):
        make_update(run, older, tmp_path / "u", ExportRequest(sign=(key,)))
    assert recorded(run) == before


# Thresholds of the unknown


class Animals:
    """A built-in data set: a folder in the folder of such sets."""

    @staticmethod
    def is_here(data_dir: Path) -> bool:
        return (data_dir / "animals").is_dir()

    @staticmethod
    def load(data_dir: Path, image_size_px: int | None, seed: int) -> ImageDataset:
        return load_folder(
            data_dir / "animals", image_size_px=image_size_px, holdout=0.5, seed=seed
        )[0]


@pytest.fixture
def taught(
    run: Path, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A teachable bundle after the first task, and the folder with the data set of the run."""
    monkeypatch.setitem(DATASETS, "animals", Animals())
    monkeypatch.setenv("EDGECIL_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder_with(tmp_path / "sets" / "animals", CLASSES)
    for folder in (run, earlier):
        settings_with("animals").save(folder / "config.json")
    request = ExportRequest(teachable=True, data_dir=tmp_path / "sets")
    assert export(earlier, tmp_path / "1", request).manifest.unknown is not None
    return tmp_path / "1", tmp_path / "sets"


def test_an_update_finds_the_data_where_it_is_told_and_measures_the_unknown_anew(
    run: Path, taught: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, data = taught
    words = ("update", run, "--since", base, "--data-dir", data, "--out", "u", "--bundle", "2")
    assert edgecil(monkeypatch, *words) == 0
    facts = read_package(Path("2")).manifest.unknown
    assert facts is not None
    pixels = torch.from_numpy(Animals.load(data, 16, 1).test.pixels()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        energies = State.read(run / "state").network()(pixels).double().logsumexp(1).numpy()
    assert facts.pictures == len(energies) == 10
    np.testing.assert_allclose(
        [facts.energies[place] for place in (0, 50, 100)],
        [energies.min(), np.median(energies), energies.max()],
        atol=1e-3,
    )


def test_thresholds_that_devices_have_are_not_lost_without_a_word(
    run: Path,
    taught: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    base, _ = taught
    words = ("update", run, "--since", base, "--out", "u", "--bundle", "2")
    for more in ((), ("--force",)):  # which is for another loss
        assert edgecil(monkeypatch, *words, *more) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: devices have thresholds for --unknown, ")
        assert told.endswith("(or give --data-dir), or do without: --lose-unknown\n")
        assert told.count("\n") == 1
    assert caplog.messages == []
    assert not Path("u").exists()
    assert not Path("2").exists()

    lost = "lost: thresholds for --unknown, which the base has"
    assert edgecil(monkeypatch, *words, "--lose-unknown") == 0
    assert caplog.messages == [
        "thresholds for --unknown, which devices have, are lost by --lose-unknown"
    ]
    assert read_package(Path("2")).manifest.unknown is None
    assert lost in capsys.readouterr().out.splitlines()
    # Two finished bundles were made so on purpose; what is lost between them is told all the same.
    assert edgecil(monkeypatch, "update", "2", "--since", base, "--out", "u") == 0
    assert lost in capsys.readouterr().out.splitlines()


def test_what_an_update_loses_in_int8_is_told_and_refused_unless_forced(
    run: Path,
    earlier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    much = AccuracyLoss("test pictures", 100, 90.0, Accuracy(80.0, ()), apart=12)
    monkeypatch.setattr(exporter, "accuracy_loss", lambda *_: much)
    export(earlier, tmp_path / "1", ExportRequest(compute="int8", force=True))
    caplog.clear()
    with pytest.raises(ExportError, match="a loss of more than 1 points; nothing was written"):
        make_update(run, tmp_path / "1", tmp_path / "u", ExportRequest(lose_unknown=True))
    assert caplog.messages == []
    line = "int8 compute: 80.00 % right of 100 test pictures; fp32: 90.00 %"
    report = make_update(run, tmp_path / "1", tmp_path / "u", ExportRequest(force=True))
    assert caplog.messages == [f"{line}, a loss of more than 1 points; --force has it written"]
    assert report.lines()[-2] == line


def test_a_base_without_thresholds_needs_no_pictures(run: Path, taught: tuple[Path, Path]) -> None:
    _, data = taught
    export(run.parent / "earlier", Path("plain"), ExportRequest(teachable=True))
    assert make_update(run, Path("plain"), Path("u")).lost == ()
    export(run, Path("2"))
    report = make_update(Path("2"), Path("plain"), Path("u"))
    assert report.lost == ("statistics to teach with",)
    assert make_update(run, Path("plain"), Path("u"), ExportRequest(data_dir=data)).lost == ()
