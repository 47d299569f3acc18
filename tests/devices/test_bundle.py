"""The file format, held to literal bytes, and every way in which a file can be damaged."""

import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from edgecil_devices.blobs import Blob
from edgecil_devices.bundle import complete, read_bundle
from edgecil_devices.errors import (
    BundleCorruptError,
    BundleError,
    BundleVersionError,
    SignatureError,
)
from edgecil_devices.images import Preprocessing
from edgecil_devices.manifest import Accuracy, Manifest
from edgecil_devices.package import pack, read_package
from edgecil_devices.signing import KeySet

# Taken with `printf 'trunk!' | sha256sum`, and so on.
TRUNK_SHA256 = "f62aa6ab38b33c5de71c69ba6936b2953784a36c0c1c11cccf7eacf04ef5f0c3"
BLOCK_SHA256 = "496aca80e4d8f29fb8e8cd816c3afb48d3f103970b3a2ee1600c08ca67326dee"
HEAD_SHA256 = "9f2e6d33a3717ee826353a404ba4618d1aeeb6879ad7936bce8ed5f46814924d"


def golden_parts() -> tuple[Manifest, dict[str, bytes]]:
    blobs = {"trunk.onnx": b"trunk!", "block-00.onnx": b"block", "head.npy": b"head"}
    trunk = Blob.of("trunk.onnx", "trunk", b"trunk!")
    manifest = Manifest(
        classes=("Äpfel", "bee"),
        tasks=(range(2),),
        preprocessing=Preprocessing(32),
        mean=(0.5, 0.25, 0.125),
        std=(1.0, 2.0, 4.0),
        weights="int8",
        opset=18,
        ir_version=8,
        min_onnxruntime="1.24.4",
        blobs=(
            trunk,
            Blob.of("block-00.onnx", "block", b"block", task=0, features=3, trunk=trunk.sha256),
            Blob.of("head.npy", "head", b"head"),
        ),
        network={"method": "memo"},
        versions={"edgecil": "0.1.0"},
        accuracy=Accuracy(71.5, (71.5,)),
    )
    return manifest, blobs


GOLDEN_MANIFEST = (
    '{"format":1,"classes":["Äpfel","bee"],"tasks":[[0,2]],'
    '"preprocessing":{"image_size_px":32,"orientation":"exif","channels":"RGB",'
    '"background":[255,255,255],"crop":"centre-square","resample":"bilinear-antialiased"},'
    '"normalisation":{"folded_into":"trunk","mean":[0.5,0.25,0.125],"std":[1.0,2.0,4.0]},'
    '"weights":"int8","compute":"fp32","opset":18,"ir_version":8,"min_onnxruntime":"1.24.4",'
    '"network":{"method":"memo"},"versions":{"edgecil":"0.1.0"},'
    '"accuracy":{"overall":71.5,"by_task":[71.5]},"tolerance":0.001,"blobs":['
    f'{{"name":"trunk.onnx","role":"trunk","size":6,"sha256":"{TRUNK_SHA256}"}},'
    f'{{"name":"block-00.onnx","role":"block","size":5,"sha256":"{BLOCK_SHA256}",'
    f'"task":0,"features":3,"trunk":"{TRUNK_SHA256}"}},'
    f'{{"name":"head.npy","role":"head","size":4,"sha256":"{HEAD_SHA256}"}}]}}'
)
# `<8sIIII`: magic, format 1, sizes of manifest, signatures and map; then no base, then the sum.
GOLDEN_HEADER = (
    b"\x89edgecil\x01\x00\x00\x00\xd4\x03\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"
    + bytes(32)
    + bytes.fromhex("0a9aa7adef314acf7dda07640bd2fe140cf3c96b46f3ee7c3ef52c759aaaf3b5")
)
GOLDEN_MAP = b"\x07"


@pytest.fixture(scope="module")
def golden() -> bytes:
    return pack(*golden_parts())


def write(folder: Path, data: bytes) -> Path:
    path = folder / "x.edgecil"
    path.write_bytes(data)
    return path


def with_manifest(manifest_json: bytes, format_: int = 1, blob_map: bytes = GOLDEN_MAP) -> bytes:
    sizes = len(manifest_json), 0, len(blob_map)
    start = struct.pack("<8sIIII32s", b"\x89edgecil", format_, *sizes, bytes(32))
    digest = hashlib.sha256(start + manifest_json + blob_map).digest()
    return start + digest + manifest_json + blob_map + b"trunk!blockhead"


def test_a_bundle_is_exactly_these_bytes(golden: bytes) -> None:
    told = GOLDEN_MANIFEST.encode() + GOLDEN_MAP
    assert golden == GOLDEN_HEADER + told + b"trunk!blockhead"


def test_what_is_packed_is_read_back(golden: bytes, tmp_path: Path) -> None:
    manifest, blobs = golden_parts()
    bundle = read_bundle(write(tmp_path, golden))
    assert bundle.manifest == manifest
    assert bundle.blobs == blobs
    assert bundle.manifest_json.decode() == GOLDEN_MANIFEST
    assert read_package(golden).size_bytes == len(golden)


def test_every_flipped_bit_is_refused(golden: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, golden)
    read_bundle(path)
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(golden):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                with pytest.raises(BundleError):
                    read_bundle(path)
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert read_bundle(path).blobs == golden_parts()[1]


def test_every_truncation_is_refused(golden: bytes, tmp_path: Path) -> None:
    for length in range(1, len(golden)):
        with pytest.raises(BundleCorruptError, match="truncated: it has"):
            read_bundle(write(tmp_path, golden[:length]))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match="truncated: it has 0 bytes"):
        read_bundle(write(tmp_path, b""))


def test_trailing_bytes_are_refused(golden: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match="2 bytes too many after the end"):
        read_bundle(write(tmp_path, golden + b"\0\0"))


def test_a_damaged_blob_is_named_with_both_hashes(golden: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, golden.replace(b"block", b"clock"))
    found = hashlib.sha256(b"clock").hexdigest()
    with pytest.raises(BundleCorruptError) as caught:
        read_bundle(path)  # the name in the manifest was changed too, so that is what is noticed
    assert str(caught.value).startswith(f"{path}: header or manifest is damaged")

    path = write(tmp_path, golden.replace(b"trunk!block", b"trunk!clock"))
    with pytest.raises(BundleCorruptError) as caught:
        read_bundle(path)
    assert str(caught.value) == (
        f"{path}: block-00.onnx is damaged: its sha256 is {found}, not {BLOCK_SHA256}; "
        "copy or export the file again"
    )


def test_a_newer_format_says_how_to_upgrade(tmp_path: Path) -> None:
    path = write(tmp_path, with_manifest(GOLDEN_MANIFEST.encode(), format_=3))
    with pytest.raises(BundleVersionError, match=r"format 3 is newer.*install a newer edgecil"):
        read_bundle(path)


def test_a_manifest_that_contradicts_the_header_is_refused(tmp_path: Path) -> None:
    manifest = GOLDEN_MANIFEST.replace('"format":1', '"format":2').encode()
    with pytest.raises(BundleCorruptError, match="the header says format 1, the manifest 2"):
        read_bundle(write(tmp_path, with_manifest(manifest)))
    with pytest.raises(BundleCorruptError, match="the header says format 2, the manifest 1"):
        read_bundle(write(tmp_path, with_manifest(GOLDEN_MANIFEST.encode(), format_=2)))


def test_a_manifest_of_a_newer_format_says_how_to_upgrade(tmp_path: Path) -> None:
    manifest = GOLDEN_MANIFEST.replace('"format":1', '"format":3').encode()
    with pytest.raises(BundleVersionError, match=r"of format 3, newer.*install a newer edgecil"):
        read_bundle(write(tmp_path, with_manifest(manifest)))


def test_a_bundle_of_format_2_differs_from_one_of_format_1_in_nothing_but_the_number(
    golden: bytes, tmp_path: Path
) -> None:
    manifest, blobs = golden_parts()
    newer = pack(replace(manifest, format_number=2), blobs)
    assert newer == with_manifest(GOLDEN_MANIFEST.replace('"format":1', '"format":2').encode(), 2)
    assert read_bundle(write(tmp_path, newer)).manifest.format_number == 2


def test_a_reader_from_before_format_2_says_how_to_get_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As that reader was: it knew format 1 alone, and looked at the header first."""
    manifest, blobs = golden_parts()
    path = write(tmp_path, pack(replace(manifest, format_number=2), blobs))
    monkeypatch.setattr("edgecil_devices.package.FORMAT", 1)
    with pytest.raises(
        BundleVersionError, match=r"format 2 is newer than this edgecil reads \(1\)"
    ):
        read_bundle(path)


@pytest.mark.parametrize("data", [b"PK\x03\x04 a zip file", b"\x89PNG\r\n\x1a\n", b"{}"])
def test_other_files_are_not_bundles(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match="not an edgecil bundle"):
        read_bundle(write(tmp_path, data))


def test_a_manifest_may_not_be_endless(tmp_path: Path) -> None:
    header = struct.pack("<8sIIII64x", b"\x89edgecil", 1, 1_000_001, 0, 1)
    with pytest.raises(BundleCorruptError, match="header is damaged"):
        read_bundle(write(tmp_path, header + b" " * 1_000_001))


def test_a_blob_claimed_larger_than_the_file_is_never_allocated(tmp_path: Path) -> None:
    manifest = GOLDEN_MANIFEST.replace('"size":5', '"size":2147483647').encode()
    with pytest.raises(BundleCorruptError, match="truncated"):
        read_bundle(write(tmp_path, with_manifest(manifest)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.edgecil: No such file"):
        read_bundle(tmp_path / "none.edgecil")


def test_a_run_given_as_a_bundle_is_told_to_export(tmp_path: Path) -> None:
    (tmp_path / "run" / "state").mkdir(parents=True)
    with pytest.raises(BundleError, match="a run, not a bundle; run: edgecil export"):
        read_bundle(tmp_path / "run")


def test_folders_and_pipes_are_not_bundles(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(BundleError, match="not a bundle, which is a single file"):
            read_bundle(path)


def test_packing_refuses_blobs_the_manifest_does_not_describe() -> None:
    manifest, blobs = golden_parts()
    with pytest.raises(BundleCorruptError, match=r"head\.npy is damaged"):
        pack(manifest, blobs | {"head.npy": b"heat"})
    with pytest.raises(BundleCorruptError, match="lists other blobs"):
        pack(manifest, blobs | {"extra": b""})


# Updates

BASE = "ab" * 32


@pytest.fixture(scope="module")
def update() -> bytes:
    manifest, blobs = golden_parts()
    carried = {name: data for name, data in blobs.items() if name != "trunk.onnx"}
    return pack(manifest, carried, base=BASE, signatures=bytes(96))


def test_an_update_is_the_manifest_of_the_bundle_and_some_of_its_blobs(update: bytes) -> None:
    start = b"\x89edgecil\x01\0\0\0" + len(GOLDEN_MANIFEST.encode()).to_bytes(4, "little")
    start += (96).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes.fromhex(BASE)
    told = GOLDEN_MANIFEST.encode() + bytes(96) + b"\x06"
    assert update == start + hashlib.sha256(start + told).digest() + told + b"blockhead"

    package = read_package(update)
    assert (package.base, package.signatures) == (BASE, bytes(96))
    assert set(package.blobs) == {BLOCK_SHA256, HEAD_SHA256}
    assert [blob.name for blob in package.missing] == ["trunk.onnx"]
    assert package.manifest_sha256 == hashlib.sha256(GOLDEN_MANIFEST.encode()).hexdigest()


def test_an_update_and_what_its_base_has_are_the_bundle(update: bytes, golden: bytes) -> None:
    bundle = complete(read_package(update), {TRUNK_SHA256: b"trunk!", "00" * 32: b"not needed"})
    assert bundle.blobs == complete(read_package(golden), {}).blobs
    assert list(bundle.blobs) == ["trunk.onnx", "block-00.onnx", "head.npy"]


def test_an_update_without_what_its_base_has_is_refused(update: bytes) -> None:
    with pytest.raises(BundleCorruptError, match=r"trunk\.onnx is missing"):
        complete(read_package(update), {})
    with pytest.raises(BundleCorruptError, match=r"trunk\.onnx is damaged"):
        complete(read_package(update), {TRUNK_SHA256: b"drunk!"})


def test_an_update_is_no_bundle(update: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="an update, .* edgecil update .* --store DIR"):
        read_bundle(write(tmp_path, update))


def test_every_changed_byte_and_every_truncation_of_an_update_is_refused(update: bytes) -> None:
    for position, byte in enumerate(update):
        for changed in {byte ^ 1, byte ^ 0x80, 0, 255} - {byte}:
            data = update[:position] + bytes([changed]) + update[position + 1 :]
            with pytest.raises(BundleError):
                read_package(data)
        with pytest.raises(BundleCorruptError):
            read_package(update[:position])
    with pytest.raises(BundleCorruptError, match="1 bytes too many"):
        read_package(update + b"!")


@pytest.mark.parametrize("blob_map", [b"", b"\x03", b"\x0f", b"\x07\x00", b"\x00"])
def test_a_bundle_whose_map_does_not_name_all_its_blobs_is_refused(blob_map: bytes) -> None:
    with pytest.raises(BundleCorruptError, match="map of its blobs is wrong"):
        read_package(with_manifest(GOLDEN_MANIFEST.encode(), blob_map=blob_map))


def test_a_bundle_that_lacks_a_blob_cannot_be_packed() -> None:
    manifest, blobs = golden_parts()
    del blobs["trunk.onnx"]
    with pytest.raises(BundleCorruptError, match="lists other blobs"):
        pack(manifest, blobs)


def test_a1_what_nobody_trusted_has_signed_is_refused_before_its_manifest_is_parsed() -> None:
    trusted = KeySet.parse(["ed25519:" + 43 * "A" + "="])
    nonsense = with_manifest(b"not a manifest at all")
    with pytest.raises(SignatureError, match="signed by nobody"):
        read_package(nonsense, trusted)
    with pytest.raises(BundleCorruptError, match="not valid JSON"):
        read_package(nonsense)
