"""Colours as a picture's ICC profile means them, turned into sRGB.

Telephones save Display P3 and cameras Adobe RGB: the same numbers are duller colours in sRGB. What
becomes of a profile:

- RGB, grey and CMYK profiles of pictures of the same kind are followed: relative colorimetric, with
  black point compensation, by the littlecms in Pillow.
- One that means sRGB, whatever it is called, changes no value by more than `SAME_WITHIN`, and is
  skipped.
- One that is damaged, larger than `LARGEST_PROFILE_BYTES`, of another kind, or that turns white
  dark or black light is ignored: the picture is read as if it had none. So is every profile where
  Pillow was built without littlecms.

A profile is looked into once; what was found is kept for the last `KEPT` of them, by their digest.
"""

import hashlib
import io
from collections import OrderedDict
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageCms

LARGEST_PROFILE_BYTES = 4 * 2**20
"""A larger profile is ignored; those of printers have 0.5 to 3 MB, those of cameras 0.5 to 4 kB."""

SAME_WITHIN = 1
"""A profile that moves no value of 0 to 255 by more than this means sRGB."""

KEPT = 16
"""Profiles that are remembered; the tables of one take up to 1 MB."""

Transform: TypeAlias = Any
"""An `ImageCms.ImageCmsTransform`; old releases of Pillow have no types."""

_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_BLACK_POINT_COMPENSATION = 0x2000  # littlecms's cmsFLAGS_BLACKPOINTCOMPENSATION
_LIGHT, _DARK = 200, 80

_known: OrderedDict[bytes, Transform | None] = OrderedDict()


def in_srgb(image: Image.Image, profile: Any) -> Image.Image | None:
    """The colours of a decoded picture in sRGB.

    Args:
        image: of mode RGB, L or CMYK.
        profile: the bytes of its ICC profile, or whatever else a file had in their place.

    Returns:
        RGB; None where the profile changes nothing or cannot be followed.
    """
    if not isinstance(profile, bytes) or _mode_of(profile) != image.mode:
        return None
    transform = _remembered(profile)
    return None if transform is None else ImageCms.applyTransform(image, transform)


def _mode_of(profile: bytes) -> str | None:
    """Pillow's mode of the pictures that a profile is for; None for a profile to be ignored.

    Source: ICC.1:2022, section 7.2, the profile's header.
    """
    if not 128 < len(profile) <= LARGEST_PROFILE_BYTES or profile[36:40] != b"acsp":
        return None
    return _MODES.get(profile[16:20]) if profile[12:16] in _CLASSES else None


def _remembered(profile: bytes) -> Transform | None:
    # Without a lock, which a process that is forked in between would wait for for ever: at worst
    # two threads look into the same profile.
    key = hashlib.sha256(profile).digest()
    if key not in _known:
        transform = _transform(profile)
        while len(_known) >= KEPT:
            try:
                _known.popitem(last=False)
            except KeyError:  # another thread was as quick
                break
        _known[key] = transform
        return transform
    return _known.get(key)


def _transform(profile: bytes) -> Transform | None:
    """From a profile's colours to sRGB; None if it is sRGB, or not to be trusted."""
    mode = _mode_of(profile) or ""
    build: Any = ImageCms.buildTransform  # which takes flags as plain numbers, in old releases only
    try:
        transform = build(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=_BLACK_POINT_COMPENSATION,
        )
        probe = _probe(mode)
        found = np.asarray(ImageCms.applyTransform(probe, transform)).reshape(-1, 3)
    # A profile is as untrusted as the rest of a picture; ImportError: there is no littlecms.
    except Exception:
        return None
    white, black = (found[-1], found[0]) if mode != "CMYK" else (found[0], found[-1])
    if white.min() < _LIGHT or black.max() > _DARK:
        return None
    if mode != "CMYK":
        plain = np.asarray(probe.convert("RGB"), dtype=np.int16).reshape(-1, 3)
        if np.abs(found - plain).max() <= SAME_WITHIN:
            return None
    return transform


@cache
def _probe(mode: str) -> Image.Image:
    """A picture, one pixel high, of colours all over a space, from all 0 to all 255."""
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    steps = np.linspace(0, 255, {1: 256, 3: 9, 4: 3}[channels]).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * channels, indexing="ij"), axis=-1)
    values = grid.reshape(1, -1) if mode == "L" else grid.reshape(1, -1, channels)
    size = (values.shape[1], 1)
    return Image.frombytes(mode, size, np.ascontiguousarray(values).tobytes())
