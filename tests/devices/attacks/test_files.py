"""Attacks by bundles and updates as files, named after their cases."""

import hashlib
import json
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgecil_devices.bundle import complete, read_bundle
from edgecil_devices.errors import BundleCorruptError, BundleError, SignatureError
from edgecil_devices.manifest import Manifest
from edgecil_devices.package import pack, read_package
from edgecil_devices.signing import CONTEXT, KeySet, verify

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)


def signed(manifest_json: bytes, key: Ed25519PrivateKey = KEY, context: bytes = CONTEXT) -> bytes:
    return key.public_key().public_bytes_raw() + key.sign(context + manifest_json)


def trusted(*keys: Ed25519PrivateKey) -> KeySet:
    return KeySet(tuple(key.public_key().public_bytes_raw() for key in keys))


def file(manifest_json: bytes, after: bytes, signatures: bytes = b"", **header: Any) -> bytes:
    """A file whose sums all fit, put together by hand as an attacker would; `after` has the map."""
    manifest_bytes = header.get("manifest_bytes", len(manifest_json))
    start = struct.pack(
        "<8sIIII32s",
        b"\x89edgecil",
        1,
        manifest_bytes,
        header.get("signatures_bytes", len(signatures)),
        header.get("map_bytes", 1),
        bytes(32),
    )
    told = manifest_json + signatures + after[:1]
    return start + hashlib.sha256(start + told).digest() + told + after[1:]


def changed(tiny: Any, change: Callable[[Any], None]) -> bytes:
    """The tiny network's bundle with another manifest, whose sums fit again."""
    record = json.loads(tiny.manifest().to_json())
    change(record)
    return file(json.dumps(record).encode(), b"\x0f" + b"".join(tiny.blobs().values()))


def test_the_file_that_the_attacks_are_made_of_is_sound(tiny: Any) -> None:
    package = read_package(changed(tiny, lambda record: None))
    assert complete(package, {}).blobs == tiny.blobs()


# A1: unsigned, signed by somebody else, changed after signing


def test_a1_nobody_signed(tiny: Any) -> None:
    with pytest.raises(SignatureError, match="it is signed by nobody, and trusted is ed25519:"):
        verify(tiny.manifest().to_json(), b"", trusted(KEY))


def test_a1_somebody_else_signed(tiny: Any) -> None:
    manifest = tiny.manifest().to_json()
    with pytest.raises(SignatureError, match="signed only by ed25519:"):
        verify(manifest, signed(manifest, OTHER), trusted(KEY))


def test_a1_a_trusted_name_on_somebody_elses_signature(tiny: Any) -> None:
    manifest = tiny.manifest().to_json()
    forged = signed(manifest)[:32] + signed(manifest, OTHER)[32:]
    with pytest.raises(SignatureError, match="is not of this manifest"):
        verify(manifest, forged, trusted(KEY, OTHER))


def test_a1_a_manifest_changed_after_signing(tiny: Any) -> None:
    manifest = tiny.manifest().to_json()
    signature = signed(manifest)
    verify(manifest, signature, trusted(KEY))
    for index in range(0, len(manifest), 7):
        other = manifest[:index] + bytes([manifest[index] ^ 1]) + manifest[index + 1 :]
        with pytest.raises(SignatureError):
            verify(other, signature, trusted(KEY))


def test_a1_the_same_json_in_other_bytes_is_another_manifest(tiny: Any) -> None:
    manifest = tiny.manifest().to_json()
    spaced = json.dumps(json.loads(manifest)).encode()
    assert Manifest.from_json(spaced) == Manifest.from_json(manifest)
    with pytest.raises(SignatureError):
        verify(spaced, signed(manifest), trusted(KEY))


def test_a1_a_signature_made_for_something_else(tiny: Any) -> None:
    manifest = tiny.manifest().to_json()
    with pytest.raises(SignatureError):
        verify(manifest, signed(manifest, context=b""), trusted(KEY))


def test_a1_one_bad_signature_among_trusted_ones_spoils_all(tiny: Any) -> None:
    manifest = tiny.manifest().to_json()
    signatures = signed(manifest) + signed(b"another", OTHER)
    verify(manifest, signatures, trusted(KEY))
    with pytest.raises(SignatureError):
        verify(manifest, signatures, trusted(KEY, OTHER))


# A2: what the signature does not cover


def test_a2_every_byte_that_is_used_hangs_on_the_signed_manifest(tiny: Any) -> None:
    """Another blob in its place, all sums of the file made new: the manifest does not fit it."""
    other = b"\x0f" + b"".join(tiny.blobs().values()).replace(b"Relu", b"Tanh")
    with pytest.raises(BundleCorruptError, match=r"trunk\.onnx is damaged"):
        read_package(file(tiny.manifest().to_json(), other))


def test_a2_an_extra_blob_is_refused(tiny: Any) -> None:
    data = pack(tiny.manifest(), tiny.blobs())
    with pytest.raises(BundleCorruptError, match="5 bytes too many after the end"):
        read_package(data + b"extra")
    after = b"\x1f" + b"".join(tiny.blobs().values()) + b"extra"
    with pytest.raises(BundleCorruptError, match="map of its blobs is wrong"):
        read_package(file(tiny.manifest().to_json(), after))


def test_a2_half_a_signature_is_refused(tiny: Any) -> None:
    manifest = tiny.manifest().to_json()
    with pytest.raises(SignatureError, match="signatures are damaged"):
        verify(manifest, signed(manifest) + b"x", trusted(KEY))


@pytest.mark.parametrize("count", [1, 95, 97, 191, 16 * 96 - 1])
def test_a2_half_a_signature_is_refused_where_nobody_is_trusted_too(tiny: Any, count: int) -> None:
    manifest, after = tiny.manifest().to_json(), b"\x0f" + b"".join(tiny.blobs().values())
    whole = signed(manifest) * 16
    assert read_package(file(manifest, after, whole[: count // 96 * 96])).base is None
    for keys in (None, trusted(KEY)):
        with pytest.raises(BundleCorruptError, match="the header is damaged"):
            read_package(file(manifest, after, whole[:count]), keys)


# A5: blocks of two bundles


def test_a5_a_block_of_another_trunk_is_refused(tiny: Any) -> None:
    def change(record: Any) -> None:
        record["blobs"][2]["trunk"] = "ab" * 32

    with pytest.raises(BundleCorruptError, match=r"block-01\.onnx was made for another trunk"):
        read_package(changed(tiny, change))


def test_a5_blobs_in_each_others_place_are_refused(tiny: Any) -> None:
    trunk, first, second, head = tiny.blobs().values()
    with pytest.raises(BundleCorruptError, match=r"block-00\.onnx is damaged"):
        read_package(file(tiny.manifest().to_json(), b"\x0f" + trunk + second + first + head))


def test_a5_an_update_takes_no_other_blob_for_the_one_it_lacks(tiny: Any) -> None:
    manifest, blobs = tiny.manifest(), tiny.blobs()
    head = {"head.npy": blobs["head.npy"]}
    update = read_package(pack(manifest, head, base="ab" * 32))
    shas = [blob.sha256 for blob in manifest.blobs]
    mixed = dict(zip(shas, (blobs["trunk.onnx"], *[blobs["block-01.onnx"]] * 2), strict=False))
    with pytest.raises(BundleCorruptError, match=r"block-00\.onnx (has|is damaged)"):
        complete(update, mixed)


# A7: a number that leaves no room for others


@pytest.mark.parametrize("number", [2**53, 2**63, 2**64, 10**40, 0, -1, 1.5, True, "7"])
def test_a7_numbers_beyond_what_every_reader_keeps_exact_are_refused(
    tiny: Any, number: Any
) -> None:
    with pytest.raises(BundleCorruptError, match="release"):
        read_package(changed(tiny, lambda record: record.update(release=number)))


# A8: data without end


def test_a8_a_file_is_not_read_beyond_what_its_header_allows(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "endless.edgecil"
    data = pack(tiny.manifest(), tiny.blobs())
    with path.open("wb") as stream:
        stream.write(data)
        stream.truncate(2**40)  # a terabyte of holes
    tracemalloc.start()
    try:
        with pytest.raises(BundleCorruptError, match="bytes too many after the end"):
            read_bundle(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "sizes",
    [
        {"manifest_bytes": 1_000_001},
        {"manifest_bytes": 2**32 - 1},
        {"manifest_bytes": 0},
        {"signatures_bytes": 16 * 96 + 1},
        {"signatures_bytes": 2**32 - 1},
        {"map_bytes": 129},
        {"map_bytes": 2**32 - 1},
    ],
)
def test_a8_parts_that_would_be_too_large_are_refused_before_they_are_read(
    tiny: Any, sizes: dict[str, Any]
) -> None:
    with pytest.raises(BundleCorruptError, match="the header is damaged"):
        read_package(file(tiny.manifest().to_json(), b"\x0f", **sizes))


def test_a8_more_blobs_than_anybody_needs_are_refused(tiny: Any) -> None:
    def change(record: Any) -> None:
        block = record["blobs"][1]
        more = [block | {"name": f"b{k}", "task": k} for k in range(1100)]
        record["blobs"][1:3] = more

    with pytest.raises(BundleCorruptError, match="cannot be right"):
        read_package(changed(tiny, change))


# A9: names as paths

NAMES = [
    "../up",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "c:",
    "C:x",
    "nul\0",
    "",
    ".",
    "..",
    ".hidden",
    "A",
    "ä",
    "a\u202eb",
    "a b",
    "a\n",
    "x" * 65,
    "-rf",
]


@pytest.mark.parametrize("name", NAMES)
def test_a9_names_that_could_be_paths_are_refused(tiny: Any, name: str) -> None:
    def change(record: Any) -> None:
        record["blobs"][0]["name"] = name

    with pytest.raises(BundleCorruptError, match="is not allowed"):
        read_package(changed(tiny, change))


def test_a9_no_two_blobs_have_one_name(tiny: Any) -> None:
    def change(record: Any) -> None:
        record["blobs"][2]["name"] = record["blobs"][1]["name"]

    with pytest.raises(BundleCorruptError, match="two blobs have one name"):
        read_package(changed(tiny, change))


# A10: sizes that lie


@pytest.mark.parametrize("size", [2**31, 2**63, 10**30, 0, -5, 1.0, None])
def test_a10_sizes_that_no_blob_can_have_are_refused(tiny: Any, size: Any) -> None:
    def change(record: Any) -> None:
        record["blobs"][1]["size"] = size

    with pytest.raises(BundleCorruptError, match="size"):
        read_package(changed(tiny, change))


def test_a10_nothing_is_allocated_for_what_is_not_there(tiny: Any) -> None:
    def change(record: Any) -> None:
        for blob in record["blobs"]:
            blob["size"] = 2**31 - 1

    data = changed(tiny, change)
    tracemalloc.start()
    try:
        with pytest.raises(BundleCorruptError, match=r"truncated: it has \d+ bytes, the whole"):
            read_package(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a10_json_a_million_brackets_deep_is_refused(tiny: Any) -> None:
    for deep in (b"[" * 999_999, b'{"a":' * 199_999):
        with pytest.raises(BundleCorruptError, match="not valid JSON"):
            read_package(file(deep, b"\x0f"))


def test_a10_a_number_of_a_million_digits_is_refused(tiny: Any) -> None:
    with pytest.raises(BundleCorruptError, match="not valid JSON"):
        read_package(file(b'{"format":' + b"9" * 900_000 + b"}", b"\x0f"))


# A17: new keys


@pytest.mark.parametrize(
    "keys", [[], ["ed25519:AAAA"], ["rsa:" + "A" * 43 + "="], ["ed25519:" + "A" * 43 + "="] * 17]
)
def test_a17_key_sets_that_cannot_be_are_refused(tiny: Any, keys: list[str]) -> None:
    with pytest.raises(BundleCorruptError, match="key"):
        read_package(changed(tiny, lambda record: record.update(release=1, keys=keys)))


def test_a17_new_keys_are_part_of_what_is_signed(tiny: Any) -> None:
    manifest = replace(tiny.manifest(), release=2, keys=trusted(OTHER).texts)
    data = manifest.to_json()
    verify(data, signed(data), trusted(KEY))
    other = replace(manifest, keys=trusted(KEY).texts).to_json()
    with pytest.raises(SignatureError):
        verify(other, signed(data), trusted(KEY))


def test_an_update_with_every_blob_left_out_is_refused_where_they_are_missing(tiny: Any) -> None:
    update = read_package(pack(tiny.manifest(), {}, base="ab" * 32))
    with pytest.raises(BundleError, match=r"trunk\.onnx is missing"):
        complete(update, {})
