"""Teaching a classifier, as a program and a person do it."""

import io
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgecil_devices import Classifier, UsageError
from edgecil_devices.__main__ import main
from edgecil_devices.blobs import Blob
from edgecil_devices.bundle import read_bundle
from edgecil_devices.errors import BundleVersionError, StoreBusyError, StoreDamagedError
from edgecil_devices.manifest import Manifest
from edgecil_devices.package import pack
from edgecil_devices.runtime import Runtime
from edgecil_devices.teaching.head import Prototype, TaughtHead
from edgecil_devices.teaching.known import blots, guessed_classes
from edgecil_devices.teaching.overlay import NewPicture, Overlay
from edgecil_devices.teaching.records import TaughtRecords
from edgecil_devices.teaching.room import size_bytes
from edgecil_devices.teaching.statistics import unpacked
from edgecil_devices.teaching_facts import OF_TRUNK, TeachingFacts
from tests.devices.teaching.colours import (
    BLUE,
    RED,
    files,
    map_means,
    npy,
    pictures,
    save_teachable,
)

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


@pytest.fixture
def bundle_path(tiny: "TinyNetwork", tmp_path: Path) -> Path:
    return save_teachable(tiny, tmp_path / "tiny.edgecil")


@pytest.fixture
def classifier(bundle_path: Path) -> Classifier:
    return Classifier.load(bundle_path)


def test_what_was_taught_is_recognised_at_once_and_after_a_new_start(
    classifier: Classifier, bundle_path: Path
) -> None:
    before = classifier.predict(pictures(RED, 1, 9)[0])
    assert not before.taught
    step = classifier.teach("mug", pictures(RED, 10))
    assert (step.taught, step.total, step.repeated) == (10, 10, 0)
    for one in (classifier, Classifier.load(bundle_path)):
        found = one.predict(pictures(RED, 1, 9)[0])
        assert (found.label, found.taught) == ("mug", True)
        assert [(c.label, c.pictures, c.kind) for c in one.taught] == [("mug", 10, "new")]


def test_another_process_sees_it_with_its_next_picture(
    classifier: Classifier, bundle_path: Path
) -> None:
    other = Classifier.load(bundle_path)
    other.predict(pictures(RED, 1)[0])
    classifier.teach("mug", pictures(RED, 10))
    assert other.predict(pictures(RED, 1, 9)[0]).label == "mug"
    classifier.undo()
    assert not other.predict(pictures(RED, 1, 9)[0]).taught


def test_other_pictures_keep_the_logits_of_the_trained_head(
    tiny: "TinyNetwork", classifier: Classifier
) -> None:
    picture = pictures((120, 200, 35), 1)[0]  # between green and yellow
    classifier.teach("mug", pictures(RED, 10))
    expected = tiny.logits(picture[None])[0]
    first, second = (one for one in classifier.predict(picture, top=4).top[:3] if not one.taught)
    found = np.log(first.score / second.score)
    apart = (tiny.classes.index(one.label) for one in (first, second))
    one, other = (expected[place] for place in apart)
    assert found == pytest.approx(one - other, rel=1e-3, abs=1e-3)


def test_the_closed_form_decides_where_the_bundle_says_so_and_only_once_something_is_taught(
    tiny: "TinyNetwork", tmp_path: Path
) -> None:
    path = save_teachable(tiny, tmp_path / "tiny.edgecil", "statistics")
    tiny.head = tiny.head[[1, 2, 0]]  # a trained head that takes every class for another
    manifest = read_bundle(path).manifest
    table = read_bundle(path).blobs["statistics.npy"]
    blobs = tiny.blobs() | {"statistics.npy": table}
    head = Blob.of("head.npy", "head", blobs["head.npy"])
    swapped = tuple(head if blob.role == "head" else blob for blob in manifest.blobs)
    answers = {}
    for rules in ("trained", "statistics"):
        assert manifest.teaching is not None
        facts = replace(manifest.teaching, rules=rules)
        bundle = tmp_path / f"{rules}.edgecil"
        bundle.write_bytes(pack(replace(manifest, blobs=swapped, teaching=facts), blobs))
        classifier = Classifier.load(bundle)
        green = pictures((30, 200, 30), 1, 9)[0]
        before = classifier.predict(green)
        classifier.teach("mug", pictures(RED, 10))
        after = classifier.predict(green)
        answers[rules] = before.label, after.label
        assert after.energy == pytest.approx(before.energy, abs=0.1)
        assert classifier.predict(pictures(RED, 1, 9)[0]).label == "mug"
    assert answers == {"trained": ("cat", "cat"), "statistics": ("cat", "ape")}


def test_classes_are_taught_by_the_trunks_features_where_the_bundle_says_so(
    tiny: "TinyNetwork", tmp_path: Path
) -> None:
    bundle = save_teachable(tiny, tmp_path / "tiny.edgecil", of=OF_TRUNK)
    classifier = Classifier.load(bundle)
    reds, seen = pictures(RED, 6), pictures(RED, 1, 9)[0]
    classifier.teach("mug", reds)
    blob = read_bundle(bundle).manifest.statistics
    assert blob is not None
    facts = read_bundle(bundle).manifest.teaching
    assert facts is not None
    known = unpacked(read_bundle(bundle).blobs[blob.name], blob.name, facts, len(tiny.trunk))
    # What is taught is kept as JPEG, which is not lossless.
    kept = [classifier.overlay.picture(one) for one in classifier.overlay.records().present]
    taught = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in kept])
    head = TaughtHead(known, [Prototype(map_means(tiny, taught).astype(float), None)])
    pixels = seen[np.newaxis]
    logits = head.logits(map_means(tiny, pixels), tiny.logits(pixels).astype(np.float32))[0]
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    found = classifier.predict(seen, top=4)
    assert {one.label: one.score for one in found.top} == pytest.approx(
        dict(zip([*classifier.classes, "mug"], scores, strict=True)), abs=1e-4
    )
    assert found.label == "mug"


def test_a_manifest_says_what_decides_only_where_it_is_not_the_trained_head(
    tiny: "TinyNetwork", tmp_path: Path
) -> None:
    manifest = read_bundle(save_teachable(tiny, tmp_path / "tiny.edgecil")).manifest
    facts = manifest.teaching
    assert facts is not None
    assert b"rules" not in manifest.to_json()
    assert Manifest.from_json(manifest.to_json()) == manifest
    closed_form = replace(manifest, teaching=replace(facts, rules="statistics"))
    assert b'"rules":"statistics"' in closed_form.to_json()
    assert Manifest.from_json(closed_form.to_json()) == closed_form
    said = TeachingFacts.from_dict(json.loads(json.dumps(asdict(facts))))
    assert said == facts  # "trained" may be said
    for unknown in ("", "dice"):
        wrong = closed_form.to_json().replace(b'"statistics"}', f'"{unknown}"}}'.encode())
        with pytest.raises(BundleVersionError, match=f"unknown rules '{unknown}'"):
            Manifest.from_json(wrong)


def test_undo_and_forget_give_back_what_was(classifier: Classifier) -> None:
    picture = pictures(RED, 1, 9)[0]
    before = classifier.predict(picture)
    classifier.teach("mug", pictures(RED, 5))
    taught = classifier.predict(picture)
    assert classifier.forget("mug") == 5
    assert classifier.predict(picture).top == before.top
    classifier.undo()
    assert classifier.predict(picture).top == taught.top
    classifier.undo()
    assert classifier.predict(picture).top == before.top
    with pytest.raises(UsageError, match="nothing to undo"):
        classifier.undo()


def test_a_known_class_is_corrected_and_stays_one_of_the_release(classifier: Classifier) -> None:
    picture = pictures(RED, 1, 9)[0]
    wrong = classifier.predict(picture).label
    right = next(name for name in classifier.classes if name != wrong)
    with pytest.raises(UsageError, match=f"knows '{right}' already; .*--correct"):
        classifier.teach(right, pictures(RED, 5))
    classifier.correct(pictures(RED, 8), right)
    found = classifier.predict(picture, top=9)
    assert (found.label, found.taught) == (right, False)
    assert len(found.top) == len(classifier.classes)
    assert classifier.taught[0].kind == "correction"
    with pytest.raises(UsageError, match="nothing here is called 'mugs'"):
        classifier.correct(pictures(RED, 1)[0], "mugs")


def test_one_picture_and_the_same_picture_twenty_times(classifier: Classifier) -> None:
    one = pictures(RED, 1)[0]
    step = classifier.teach("mug", [one] * 20)
    assert (step.taught, step.total, step.repeated) == (1, 1, 19)
    assert "5 or more are surer" in step.lines()[0]
    assert classifier.taught[0].recognised is None
    again = classifier.teach("mug", [one])
    assert (again.taught, again.total, again.repeated) == (0, 1, 1)
    moved = classifier.teach("cup", [one])
    assert (moved.taught, moved.total) == (1, 1)
    assert [found.label for found in classifier.taught] == ["cup"]


def test_a_new_budget_counts_though_no_picture_is_new(classifier: Classifier) -> None:
    classifier.teach("mug", pictures(RED, 3))
    classifier.teach("mug", pictures(RED, 3), budget_bytes=1_000_000)
    assert classifier.overlay.records().budget_bytes == 1_000_000


def test_retired_pictures_do_not_make_features_be_computed_again(
    tiny: "TinyNetwork", classifier: Classifier, bundle_path: Path
) -> None:
    classifier.teach("mug", pictures(RED, 4))
    classifier.teach("cup", pictures(BLUE, 4))
    tiny.classes = ("ape", "bee", "mug")
    save_teachable(tiny, bundle_path)
    new = Classifier.load(bundle_path)
    assert [one.kind for one in new.taught] == ["retired", "new"]
    kept = Overlay(bundle_path).features_file.stat()
    assert new.predict(pictures(BLUE, 1, 9)[0]).label == "cup"
    assert [one.kind for one in new.taught] == ["retired", "new"]
    now = Overlay(bundle_path).features_file.stat()
    assert (now.st_ino, now.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)


def test_unreadable_pictures_among_good_ones_are_left_out(
    classifier: Classifier, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    step = classifier.teach("mug", [*pictures(RED, 2), broken])
    assert step.taught == 2
    ((name, why),) = step.unreadable
    assert name == str(broken)
    assert "convert it" in why
    with pytest.raises(UsageError, match="no picture to teach 'cup' from: .*broken.jpg"):
        classifier.teach("cup", [broken])


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "x" * 256])
def test_an_impossible_label_is_refused(classifier: Classifier, label: str) -> None:
    with pytest.raises(UsageError, match="cannot be a label"):
        classifier.teach(label, pictures(RED, 1))
    assert not classifier.overlay.exists


def taken_by(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_full_budget_lets_the_pictures_go_that_are_most_like_the_others(
    classifier: Classifier,
) -> None:
    classifier.teach("mug", pictures(RED, 12))
    taken = size_bytes(classifier.overlay.records(), 100)
    step = classifier.teach("cup", pictures(BLUE, 4), budget_bytes=taken)
    assert step.total == 4
    assert set(step.made_room) == {"mug"}
    assert any("most like the others" in line for line in step.lines())
    counts = {one.label: one.pictures for one in classifier.taught}
    assert counts == {"mug": 12 - step.made_room["mug"], "cup": 4}
    assert taken_by(classifier.overlay.folder) <= taken
    with pytest.raises(UsageError, match="give fewer pictures, or a larger --budget"):
        classifier.teach("jug", pictures((9, 9, 9), 3), budget_bytes=100)
    assert {one.label: one.pictures for one in classifier.taught} == counts


def test_a_release_with_more_features_costs_no_taught_picture(bundle_path: Path) -> None:
    overlay = Overlay(bundle_path)
    old = [NewPicture(bytes([number]) * 100, "p.png") for number in range(20)]
    overlay.add(old, "mug", correction=False, useless=iter, feature_bytes=10)
    budget = size_bytes(overlay.records(), 10)
    new = [NewPicture(b"n" * 100, "n.png")]
    step = overlay.add(
        new, "cup", correction=False, useless=iter, feature_bytes=5_000, budget_bytes=budget
    )
    assert [one.label for one in step.made_room] == ["mug"]
    assert len(step.records.present) == 20
    assert size_bytes(step.records, 5_000) <= budget


def test_features_beyond_the_budget_are_computed_again(
    classifier: Classifier, bundle_path: Path
) -> None:
    classifier.teach("mug", pictures(RED, 12))
    says = classifier.predict(pictures(RED, 1, 9)[0]).top
    overlay = classifier.overlay
    whole = overlay.features_file.stat().st_size
    without = size_bytes(overlay.records(), 0)
    for spare in (whole // 2, 0):  # bytes that features may take
        # What a release with more features comes to; nothing is taught in between.
        replace(overlay.records(), budget_bytes=without + spare).write(overlay.records_file)
        overlay.features_file.unlink()
        fresh = Classifier.load(bundle_path)
        assert fresh.predict(pictures(RED, 1, 9)[0]).top == says
        assert taken_by(overlay.folder) <= without + spare
        before = overlay.features_file.stat() if spare else None
        assert before is None or 0 < before.st_size < whole
        assert Classifier.load(bundle_path).predict(pictures(RED, 1, 9)[0]).top == says
        assert overlay.features_file.exists() == (before is not None)
        assert before is None or overlay.features_file.stat().st_mtime_ns == before.st_mtime_ns


def test_forgotten_pictures_go_before_any_that_count(classifier: Classifier) -> None:
    classifier.teach("mug", pictures(RED, 6))
    taken = size_bytes(classifier.overlay.records(), 100)
    classifier.forget("mug")
    step = classifier.teach("cup", pictures(BLUE, 6), budget_bytes=taken + 400)
    assert (step.total, step.made_room) == (6, {})
    classifier.undo()
    with pytest.raises(UsageError, match="needed for room"):
        classifier.undo()


def test_a_damaged_picture_is_left_out_and_told(classifier: Classifier, bundle_path: Path) -> None:
    classifier.teach("mug", pictures(RED, 12))
    overlay = Overlay(bundle_path)
    one = overlay.records().present[0]
    (overlay.folder / "pictures" / one.sha256).write_bytes(b"other")
    overlay.features_file.unlink(missing_ok=True)
    fresh = Classifier.load(bundle_path)
    assert fresh.predict(pictures(RED, 1, 9)[0]).label == "mug"
    assert fresh.taught[0].pictures == 11
    (problem,) = fresh.problems
    assert "'mug', is damaged" in problem
    assert overlay.problems() == [problem]


def test_a_damaged_list_is_refused_with_the_way_out(
    classifier: Classifier, bundle_path: Path
) -> None:
    classifier.teach("mug", pictures(RED, 5))
    file = Overlay(bundle_path).records_file
    file.write_bytes(file.read_bytes().replace(b"mug", b"bug"))
    with pytest.raises(StoreDamagedError, match="begin anew"):
        Classifier.load(bundle_path).predict(pictures(RED, 1)[0])


def test_features_are_of_one_release_and_made_anew_for_another(
    tiny: "TinyNetwork", classifier: Classifier, bundle_path: Path
) -> None:
    classifier.teach("mug", pictures(RED, 10))
    classifier.predict(pictures(RED, 1)[0])
    kept = Overlay(bundle_path).features_file.read_bytes()
    tiny.trunk = np.random.default_rng(8).normal(size=tiny.trunk.shape)
    save_teachable(tiny, bundle_path)
    again = Classifier.load(bundle_path)
    assert again.predict(pictures(RED, 1, 9)[0]).label == "mug"
    assert Overlay(bundle_path).features_file.read_bytes() != kept


def test_a_release_that_knows_the_class_retires_what_was_taught_until_a_rollback(
    tiny: "TinyNetwork", classifier: Classifier, bundle_path: Path
) -> None:
    classifier.teach("mug", pictures(RED, 10))
    old = bundle_path.read_bytes()
    tiny.classes = ("ape", "bee", "mug")
    save_teachable(tiny, bundle_path)
    new = Classifier.load(bundle_path)
    assert not new.predict(pictures(RED, 1, 9)[0]).taught
    assert new.taught[0].kind == "retired"
    bundle_path.write_bytes(old)
    back = Classifier.load(bundle_path)
    assert back.predict(pictures(RED, 1, 9)[0]).taught


def test_two_teachers_at_once_do_not_mix(classifier: Classifier, bundle_path: Path) -> None:
    overlay = Overlay(bundle_path)
    with overlay.changing(), pytest.raises(StoreBusyError, match="is being changed by"):
        Classifier.load(bundle_path).teach("mug", pictures(RED, 1))
    assert overlay.records() == TaughtRecords()


def run(*words: Any) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgecil_devices", *map(str, words)], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_the_whole_way_by_commands(bundle_path: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        "teach", bundle_path, *files(tmp_path / "mugs", RED, 6), "--label", "mug", "--budget", "1MB"
    )
    assert (code, out) == (0, "taught 'mug': 6 pictures, 6 now\n")
    (seen,) = files(tmp_path / "seen", RED, 1, 9)
    _, out, _ = run("predict", bundle_path, seen)
    assert "mug (taught)" in out
    _, out, _ = run("predict", bundle_path, seen, "--json")
    assert json.loads(out)["top"][0]["taught"] is True
    _, out, _ = run("taught", "list", bundle_path)
    assert out.startswith("mug  new            6 pictures")
    code, out, _ = run("taught", "forget", bundle_path, "--label", "mug")
    assert out.startswith("forgot 'mug', 6 pictures; to bring them back: edgecil taught undo")
    _, out, _ = run("taught", "undo", bundle_path)
    assert out == "undone; taught now: mug (6)\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("teach", "B", "--label", "mug"), "no picture to teach from"),
        (("teach", "B", "x.jpg", "--label", "mug", "--budget", "0"), "room for nothing"),
        (("teach", "B", "x.jpg", "--label", "mug"), "x.jpg"),
        (("teach", "B", "x.jpg", "--label", "mug", "--count", "0"), "--count must be at least 1"),
        (("teach", "B", "x.jpg", "--label", "mug", "--count", "5"), "--count is for the frames"),
        (("teach", ".", "x.jpg", "--label", "mug"), ".: not a bundle"),
        (("taught", "eat", "B"), "taught can list, forget, undo, export"),
        (("taught", "forget", "B"), "taught forget needs --label"),
        (("taught", "list", "B", "--label", "mug"), "taught list takes no --label"),
        (("taught", "forget", "B", "--label", "mug"), "nothing was taught as 'mug'"),
        (("taught", "undo", "B"), "nothing to undo"),
        (("taught", "export", "B", "--out", "z.zip"), "nothing is taught here"),
        (("predict", "B", "x.jpg", "--unknown", "95"), "export it with --teachable"),
        (("predict", "B", "x.jpg", "--unknown", "0"), "--unknown is a percentage"),
        (("predict", "B", "x.jpg", "--unknown", "0.95"), "from 1 to 100, such as 95, not 0.95"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    bundle_path: Path,
    words: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main([str(bundle_path) if word == "B" else word for word in words])
    told = capsys.readouterr().err
    assert code in (1, 2)
    assert says in told
    assert told.count("\n") == 1


def test_golden_samples_stand_for_statistics_where_there_are_none(
    tiny: "TinyNetwork", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = np.random.default_rng(3).integers(0, 256, (4, 8, 8, 3), np.uint8)
    contents = {"pixels": golden, "logits": tiny.logits(golden).astype(np.float32)}
    blobs = tiny.blobs() | {f"golden-{name}.npy": npy(array) for name, array in contents.items()}
    manifest = tiny.manifest()
    more = (Blob.of(f"golden-{n}.npy", f"golden-{n}", blobs[f"golden-{n}.npy"]) for n in contents)
    path = tmp_path / "golden.edgecil"
    path.write_bytes(pack(replace(manifest, blobs=(*manifest.blobs, *more)), blobs))
    given: list[Any] = []
    run, at_once = Runtime.run, list[int]()

    def counting(runtime: Runtime, pixels: Any, *more: Any) -> Any:
        at_once.append(len(pixels))
        return run(runtime, pixels, *more)

    def guessing(*arguments: Any) -> Any:
        given.append(arguments[2])
        return guessed_classes(*arguments)

    monkeypatch.setattr("edgecil_devices.teaching.teaching.guessed_classes", guessing)
    monkeypatch.setattr(Runtime, "run", counting)
    assert Classifier.load(path).teach("mug", pictures(RED, 3)).taught == 3
    means = map_means(tiny, np.concatenate([golden, blots(8)]))
    expected = np.concatenate([means @ block.T for block in tiny.blocks], axis=1)
    np.testing.assert_allclose(given[0], expected, atol=1e-5)
    assert max(at_once) == 8  # of 20, which might not fit the memory of a small computer
