"""Which profile suits which board, and that its numbers are obeyed."""

import io
from pathlib import Path

import pytest
from PIL import Image

from edgecil_devices import profiles
from edgecil_devices.bundle import read_bundle
from edgecil_devices.decoders import decoding_pixels
from edgecil_devices.errors import ImageError, UsageError
from edgecil_devices.images import read_image, read_pixels
from edgecil_devices.preprocessing import FOR_PHOTOS, Preprocessing
from edgecil_devices.runtime import Runtime


def on_board(model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> profiles.Profile:
    (tmp_path / "model").write_bytes(model)
    board = profiles.board_model(tmp_path / "model")
    monkeypatch.setattr(profiles, "board_model", lambda: board)
    return profiles.current_profile()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (b"Raspberry Pi Zero 2 W Rev 1.0\0", "raspberry-pi-zero-2"),
        (b"Raspberry Pi 3 Model B Plus Rev 1.3\0", "raspberry-pi-3"),
        (b"Raspberry Pi 3 Model A Plus Rev 1.0\0", "raspberry-pi-zero-2"),  # 512 MB, as that has
        (b"Raspberry Pi 4 Model B Rev 1.4\0", "raspberry-pi-4"),
        (b"Raspberry Pi 400 Rev 1.0\0", "raspberry-pi-4"),
        (b"Raspberry Pi Compute Module 4 Rev 1.1\0", "raspberry-pi-4"),
        (b"Raspberry Pi 5 Model B Rev 1.0\0", "raspberry-pi-5"),
        (b"Raspberry Pi Zero W Rev 1.1\0", "generic"),
        (b"FriendlyElec NanoPi R4S\0", "generic"),
        (b"\xff\xfe\0", "generic"),
    ],
)
def test_the_kernels_name_of_the_board_chooses(
    model: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_board(model, tmp_path, monkeypatch).name == name


def test_a_machine_without_a_device_tree_is_generic(tmp_path: Path) -> None:
    assert profiles.board_model(tmp_path / "none") == ""


def test_the_environment_overrides_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECIL_PROFILE", "raspberry-pi-5")
    assert profiles.current_profile().name == "raspberry-pi-5"


def test_an_unknown_name_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECIL_PROFILE", "pi5")
    with pytest.raises(UsageError, match="'pi5'; it must be one of generic, raspberry-pi-3, "):
        profiles.current_profile()


def test_a_profile_is_read_as_a_windows_editor_saves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a byte-order mark and carriage returns."""
    folder = Path(profiles.__file__).parent
    expected = profiles.profiles()["raspberry-pi-5"]
    text = (folder / "raspberry-pi-5.toml").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "raspberry-pi-5.toml").write_bytes(b"\xef\xbb\xbf" + text)
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    assert profiles.profiles.__wrapped__() == {"raspberry-pi-5": expected}


def test_threads_are_the_profiles_but_never_more_than_cores(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cores, expected in ((1, 1), (2, 2), (4, 4), (64, 4)):
        monkeypatch.setattr(profiles, "usable_cores", lambda cores=cores: cores)
        assert profiles.default_threads() == expected
        assert Runtime(read_bundle(bundle_path)).threads == expected


@pytest.mark.parametrize(
    ("board", "size", "more"),
    [
        ("raspberry-pi-zero-2", (4080, 3072), {}),
        ("raspberry-pi-zero-2", (5712, 4284), {"progressive": True}),
        ("raspberry-pi-3", (8160, 6144), {}),
    ],
)
def test_photos_of_telephones_are_read_for_a_network(
    board: str, size: tuple[int, int], more: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an eighth, where all of their pixels would not fit; of progressive ones half would."""
    file = io.BytesIO()
    Image.new("RGB", size, (200, 90, 30)).save(file, "JPEG", **more)
    monkeypatch.setenv("EDGECIL_PROFILE", board)
    rule = Preprocessing(224, reading=FOR_PHOTOS)
    assert abs(read_pixels(file.getvalue(), rule).astype(int) - (200, 90, 30)).max() <= 2
    with pytest.raises(ImageError, match="more pixels than the "):
        read_image(file.getvalue())


def test_a_jpeg_of_a_scan_for_each_colour_is_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a progressive one is, though it is none."""
    file = io.BytesIO()
    Image.new("RGB", (6000, 5000)).save(file, "JPEG")
    monkeypatch.setenv("EDGECIL_PROFILE", "raspberry-pi-zero-2")
    rule, at_once = Preprocessing(224, reading=FOR_PHOTOS), file.getvalue()
    assert decoding_pixels(at_once, rule) == 30_000_000 // 64
    every = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
    assert at_once.count(every) == 1
    one_by_one = at_once.replace(every, b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00")
    assert decoding_pixels(one_by_one, rule) == 30_000_000 // 2
    with pytest.raises(ImageError, match="more pixels than the 25,000,000 allowed here"):
        read_pixels(one_by_one, rule)


def test_a_picture_that_a_small_board_cannot_hold_is_refused_there_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, "PNG")
    assert read_image(file.getvalue()).size == (4000, 4000)
    monkeypatch.setenv("EDGECIL_PROFILE", "raspberry-pi-zero-2")
    with pytest.raises(ImageError, match=r"more pixels than the 12,500,000 allowed here; save"):
        read_image(file.getvalue())
