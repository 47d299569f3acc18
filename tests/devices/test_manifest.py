"""What a manifest may say. Each case changes one thing in a manifest that is right."""

import json
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecil_devices.errors import (
    BundleCorruptError,
    BundleError,
    BundleVersionError,
    UsageError,
)
from edgecil_devices.manifest import Accuracy, HeldOut, Manifest
from edgecil_devices.signing import KeySet

TRUNK_SHA256, OTHER_SHA256 = "ab" * 32, "cd" * 32


def record() -> dict[str, Any]:
    blobs: list[dict[str, Any]] = [
        {"name": "trunk.onnx", "role": "trunk", "size": 9, "sha256": TRUNK_SHA256},
        {"name": "block-00.onnx", "role": "block", "size": 9, "sha256": OTHER_SHA256},
        {"name": "block-01.onnx", "role": "block", "size": 9, "sha256": OTHER_SHA256},
        {"name": "head.npy", "role": "head", "size": 9, "sha256": OTHER_SHA256},
    ]
    for task, block in enumerate(blobs[1:3]):
        block |= {"task": task, "features": 64, "trunk": TRUNK_SHA256}
    return {
        "format": 1,
        "classes": ["ape", "bee", "cat"],
        "tasks": [[0, 2], [2, 3]],
        "preprocessing": {
            "image_size_px": 32,
            "orientation": "exif",
            "channels": "RGB",
            "background": [255, 255, 255],
            "crop": "centre-square",
            "resample": "bilinear-antialiased",
        },
        "normalisation": {"folded_into": "trunk", "mean": [0, 0.5, 1], "std": [1, 1, 1]},
        "weights": "fp32",
        "compute": "fp32",
        "opset": 18,
        "ir_version": 8,
        "min_onnxruntime": "1.24.4",
        "tolerance": 0.001,
        "blobs": blobs,
    }


def changed(path: str, value: Any) -> bytes:
    """The manifest with `value` at a path such as "blobs.1.size"."""
    manifest = record()
    target: Any = manifest
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in parents:
        target = target[step]
    target[last] = value
    return json.dumps(manifest).encode()


def test_a_block_may_stand_for_several_tasks_and_says_so_only_then() -> None:
    data = record() | {"tasks": [[0, 1], [1, 2], [2, 3]]}
    data["blobs"][1] |= {"task": 1, "tasks": [0, 1]}
    data["blobs"][2] |= {"task": 2}
    manifest = Manifest.from_json(json.dumps(data).encode())
    assert [block.tasks for block in manifest.blocks] == [(0, 1), None]
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.to_json().count(b'"tasks"') == 2  # the bundle's own, and this block's


def test_the_manifest_that_the_cases_change_is_right() -> None:
    manifest = Manifest.from_json(changed("format", 1))
    assert manifest.classes == ("ape", "bee", "cat")
    assert manifest.tasks == (range(2), range(2, 3))
    assert manifest.mean == (0.0, 0.5, 1.0)
    assert [block.task for block in manifest.blocks] == [0, 1]
    assert (manifest.trunk.name, manifest.head.name) == ("trunk.onnx", "head.npy")
    assert manifest.accuracy is None
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_keys_of_later_versions_are_left_aside() -> None:
    assert Manifest.from_json(changed("colour", 7)) == Manifest.from_json(changed("format", 1))


def test_how_test_pictures_were_drawn_is_said_only_where_they_were() -> None:
    cuts = ["0123456789ab", None, "ffffffffffff"]
    manifest = Manifest.from_json(changed("held_out", {"seed": 1993, "cuts": cuts}))
    assert manifest.held_out == HeldOut(1993, tuple(cuts))
    assert Manifest.from_json(manifest.to_json()) == manifest
    plain = Manifest.from_json(changed("format", 1))
    assert plain.held_out is None
    assert b"held_out" not in plain.to_json()


def test_where_the_weights_come_from_is_said_only_where_they_come_from_somewhere() -> None:
    origin = {"source": "lite0 of somebody", "licence": "Apache-2.0", "sha256": "ab" * 32}
    manifest = Manifest.from_json(changed("origin", origin))
    assert manifest.origin == origin
    assert Manifest.from_json(manifest.to_json()) == manifest
    plain = Manifest.from_json(changed("format", 1))
    assert plain.origin == {}
    assert b"origin" not in plain.to_json()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "1"),
        ("format", 0),
        ("origin", ["Apache-2.0"]),
        ("origin", {"licence": 2}),
        ("format", True),
        ("classes", []),
        ("classes", "abc"),
        ("classes.1", "ape"),
        ("classes.1", ""),
        ("classes.1", "bee\n"),
        ("classes.1", "\x1b[31m"),
        ("classes.1", "\udcff"),
        ("classes.1", "x" * 256),
        ("classes.1", 1),
        ("tasks", []),
        ("tasks.1", [2, 2]),
        ("tasks.1", [2, 4]),
        ("tasks.1", [1, 3]),
        ("tasks.1", [2, 3, 1]),
        ("tasks.1", [2, 3.0]),
        ("tasks.0", [-1, 2]),
        ("preprocessing", None),
        ("preprocessing.image_size_px", 0),
        ("normalisation.mean", [0, 0]),
        ("normalisation.mean.0", float("nan")),
        ("normalisation.mean.0", 10**400),
        ("min_onnxruntime", "latest"),
        ("accuracy", {"overall": 50, "by_task": [1, 2, 3]}),
        ("accuracy", {"overall": 50, "by_task": [None, 2]}),
        ("accuracy", {"overall": None, "by_task": []}),
        ("accuracy", {"overall": 50, "by_task": [], "classes": 0}),
        ("accuracy", {"overall": 50, "by_task": [], "classes": 3}),
        ("accuracy", {"overall": 50, "by_task": [], "classes": 1.0}),
        ("accuracy", {}),
        ("versions", {"edgecil": 1}),
        ("compute", None),
        ("tolerance", 0),
        ("tolerance", 1.5),
        ("held_out", []),
        ("held_out", {"seed": -1, "cuts": [None, None, None]}),
        ("held_out", {"seed": 2**60, "cuts": [None, None, None]}),
        ("held_out", {"seed": "1993", "cuts": [None, None, None]}),
        ("held_out", {"seed": 1993}),
        ("held_out", {"seed": 1993, "cuts": [None, None]}),
        ("held_out", {"seed": 1993, "cuts": [None, None, "0123456789AB"]}),
        ("held_out", {"seed": 1993, "cuts": [None, None, "0123456789abc"]}),
        ("held_out", {"seed": 1993, "cuts": [None, None, 7]}),
        ("release", 0),
        ("release", -1),
        ("release", 1.0),
        ("release", 2**53),
        ("release", 2**63),
        ("keys", []),
        ("keys", ["ed25519:AAAA"]),
        ("expires", "tomorrow"),
        ("expires", "2027-02-30"),
        ("expires", "20270301"),
        ("blobs", []),
        ("blobs.2.tasks", []),
        ("blobs.2.tasks", [1]),
        ("blobs.2.tasks", [0, 1]),  # the first block is of task 0
        ("blobs.2.tasks", [-1, 1]),
        ("blobs.2.tasks", [1, 1]),
        ("blobs.2.tasks", [1, 0]),
        ("blobs.2.tasks", ["0", 1]),
        ("blobs.0.tasks", []),
        ("blobs.0.tasks", [0, 1]),
        ("blobs.0.role", "head"),
        ("blobs.0.size", 0),
        ("blobs.0.size", -1),
        ("blobs.0.size", 2**31),
        ("blobs.0.size", 9.0),
        ("blobs.0.sha256", "AB" * 32),
        ("blobs.0.name", "block-00.onnx"),
        ("blobs.0.task", 0),
        ("blobs.1.task", None),
        ("blobs.1.task", 1),
        ("blobs.1.task", -1),
        ("blobs.2.task", 2),
        ("blobs.1.features", 0),
        ("blobs.1.features", 2**20),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(path: str, value: Any) -> None:
    with pytest.raises(BundleCorruptError, match=r"^the .*manifest|^the preprocessing"):
        Manifest.from_json(changed(path, value))


@pytest.mark.parametrize(
    "name",
    [
        "../trunk.onnx",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:x",
        ".hidden",
        "A.onnx",
        "a\0",
        "x" * 65,
        "",
    ],
)
def test_names_that_would_be_paths_are_refused(name: str) -> None:
    with pytest.raises(BundleCorruptError, match="is not allowed"):
        Manifest.from_json(changed("blobs.0.name", name))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 3),
        ("weights", "int4"),
        ("compute", "int4"),
        ("blobs.0.role", "signature"),
        ("preprocessing.channels", "BGR"),
        ("preprocessing.new_rule", True),
    ],
)
def test_what_a_newer_edgecil_may_mean_is_a_question_of_version(path: str, value: Any) -> None:
    with pytest.raises(BundleVersionError, match=r"install"):
        Manifest.from_json(changed(path, value))


KEY = "ed25519:" + 43 * "A" + "="


def test_a_release_has_a_number_and_may_have_new_keys_and_an_expiry() -> None:
    manifest = Manifest.from_json(
        json.dumps(
            record() | {"release": 2**53 - 1, "keys": [KEY], "expires": "2027-02-28"}
        ).encode()
    )
    assert (manifest.release, manifest.keys, manifest.expires) == (
        2**53 - 1,
        (KEY,),
        "2027-02-28",
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    "start", [42 * "A", 42 * "/", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHUR"]
)
def test_a_release_brings_no_key_that_a_store_could_not_read_again(start: str) -> None:
    taken = 0
    for last in string.ascii_letters + string.digits + "+/":
        text = f"ed25519:{start}{last}="
        data = json.dumps(record() | {"release": 1, "keys": [text]}).encode()
        try:
            assert KeySet.parse([text]).texts == (text,)
        except UsageError:
            with pytest.raises(BundleCorruptError, match="malformed key"):
                Manifest.from_json(data)
        else:
            assert Manifest.from_json(data).keys == (text,)
            taken += 1
    assert taken == 16  # 256 bits leave four of the last six


def test_keys_without_a_release_are_refused() -> None:
    with pytest.raises(BundleCorruptError, match="keys belong to a release"):
        Manifest.from_json(changed("keys", [KEY]))


def golden(*roles: str) -> list[dict[str, Any]]:
    """The blobs of the manifest with more of these roles, last."""
    more = [
        {"name": f"more-{n}.npy", "role": role, "size": 9, "sha256": OTHER_SHA256}
        for n, role in enumerate(roles)
    ]
    blobs: list[dict[str, Any]] = record()["blobs"]
    return blobs + more


def test_golden_samples_come_last_and_are_not_the_head() -> None:
    manifest = Manifest.from_json(changed("blobs", golden("golden-pixels", "golden-logits")))
    assert manifest.golden is not None
    assert [blob.name for blob in manifest.golden] == ["more-0.npy", "more-1.npy"]
    assert manifest.head.name == "head.npy"
    assert [block.task for block in manifest.blocks] == [0, 1]


@pytest.mark.parametrize(
    "roles",
    [
        ("golden-pixels",),
        ("golden-logits",),
        ("golden-logits", "golden-pixels"),
        ("golden-pixels", "golden-logits", "golden-logits"),
        ("golden-pixels", "golden-logits", "head"),
    ],
)
def test_golden_samples_are_both_there_or_neither(roles: tuple[str, ...]) -> None:
    with pytest.raises(BundleCorruptError, match="the blobs must be one trunk"):
        Manifest.from_json(changed("blobs", golden(*roles)))


def test_golden_samples_alone_are_no_bundle() -> None:
    blobs = golden("golden-pixels", "golden-logits")
    with pytest.raises(BundleCorruptError, match="it needs a trunk, a block and a head"):
        Manifest.from_json(changed("blobs", [blobs[0], *blobs[-2:]]))


def test_a_block_of_another_trunk_is_refused() -> None:
    with pytest.raises(BundleCorruptError, match=r"block-01\.onnx was made for another trunk"):
        Manifest.from_json(changed("blobs.2.trunk", OTHER_SHA256))


PATHS = [
    ("classes",),
    ("classes", 0),
    ("tasks", 1),
    ("tasks", 1, 0),
    ("preprocessing", "image_size_px"),
    ("preprocessing", "background"),
    ("normalisation", "std"),
    ("accuracy",),
    ("network",),
    ("min_onnxruntime",),
    ("blobs",),
    ("blobs", 0),
    ("blobs", 1, "task"),
    ("blobs", 1, "features"),
    ("blobs", 2, "sha256"),
    ("blobs", 3, "name"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


@given(path=st.sampled_from(PATHS), value=JSON)
def test_any_value_anywhere_is_accepted_or_refused(path: tuple[str | int, ...], value: Any) -> None:
    manifest = record()
    target: Any = manifest
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    try:
        read = Manifest.from_json(json.dumps(manifest).encode())
    except BundleError:
        return
    assert Manifest.from_json(read.to_json()) == read


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff{}",
        b'{"format":1,"format":1}',
        b'{"format":NaN}',
        b'{"format":' + b"9" * 5000 + b"}",
        b'{"format":' + b"[" * 100_000,
    ],
)
def test_strange_json_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^the manifest"):
        Manifest.from_json(data)


def test_an_accuracy_says_how_many_classes_it_covers_if_not_all() -> None:
    some = Manifest.from_json(
        json.dumps(record() | {"accuracy": {"overall": 62.5, "classes": 2, "by_task": []}}).encode()
    )
    assert some.accuracy == Accuracy(62.5, (), 2)
    assert some.accuracy.in_words(len(some.classes)) == "62.50 % over 2 of 3 classes"
    assert Manifest.from_json(some.to_json()) == some
    whole = replace(some, accuracy=Accuracy(62.5, (75.0, 50.0)))
    # Readers of before find what they always found.
    assert b'"accuracy":{"overall":62.5,"by_task":[75.0,50.0]}' in whole.to_json()
    assert whole.accuracy is not None
    assert whole.accuracy.in_words(3) == "62.50 %"
