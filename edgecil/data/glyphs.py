"""Built-in pictures: letters, digits and symbols in random colours and positions.

They need no download: Pillow brings a font. Each picture shows one character, turned by up to 15
degrees, scaled, slanted and shifted, in a random colour on a random darker one, under noise. Small
and capital letters are two classes only where they differ in more than size (not c, o, s, ...).

Every picture has a random generator of its own, seeded by (seed, split, class, number): asking for
more pictures or another size leaves what the others show as it was. The same Pillow gives the same
bytes; another FreeType may draw an edge pixel differently, and the fingerprint then says so.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edgecil.data.built_in import BuiltIn
from edgecil.data.datasets import IMAGENET_MEAN, IMAGENET_STD, ImageDataset, Split, fingerprint_of
from edgecil.errors import DataError, UsageError
from edgecil_devices.images import Pixels, Preprocessing

IMAGE_SIZE_PX = 32

_SYMBOLS = {
    "&": "ampersand",
    "@": "at",
    "#": "hash",
    "%": "percent",
    "+": "plus",
    "=": "equals",
    "?": "question",
    "!": "exclamation",
    "*": "asterisk",
    "$": "dollar",
    "<": "less",
    ">": "greater",
    "/": "slash",
    "~": "tilde",
    "{": "brace",
    "[": "bracket",
}
_CHARACTERS = {
    **{f"upper-{letter}": letter for letter in "ABCDEFGHJKLMNOPQRSTUVWXYZ"},  # I is l
    **{f"lower-{letter}": letter for letter in "abdefhimnrty"},  # g and q are 9, j is ;
    **{f"digit-{digit}": digit for digit in "123456789"},  # 0 is O
    **{f"symbol-{name}": character for character, name in _SYMBOLS.items()},
}

CLASSES = tuple(_CHARACTERS)
"""Names of the classes, in label order."""

_MASTER_PX = 128  # side of the square on which each character is drawn once, large
_CAPITAL_PX = 92  # font size there: a capital is then about half as high as the square
_OVERSAMPLING = 2  # the turned character is drawn this much larger, then averaged
_MIN_CONTRAST = 60.0  # by which the ink's luminance exceeds the ground's, of 255
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_SPLITS = {"train": 0, "test": 1}


@dataclass(frozen=True)
class _Pose:
    """Where and how a character stands on its picture."""

    angle_rad: float
    scale: float
    stretch: float
    slant: float
    shift: tuple[float, float]  # of the picture's side


def load_glyphs(
    *,
    train_per_class: int = 100,
    test_per_class: int = 20,
    image_size_px: int | None = None,
    seed: int = 0,
) -> ImageDataset:
    """Draw the glyphs.

    Args:
        train_per_class: pictures of each class to learn from.
        test_per_class: pictures of each class to test on.
        image_size_px: side of the pictures, 16 to 128; None means 32.
        seed: 0 or more; another seed draws other pictures.

    Raises:
        UsageError: a number is out of range.
        DataError: Pillow is older than 10.1, or was built without FreeType.
    """
    size_px = IMAGE_SIZE_PX if image_size_px is None else image_size_px
    if not 16 <= size_px <= 128:
        raise UsageError(f"glyphs cannot have {size_px} pixels; give --image-size 16 to 128")
    if train_per_class < 1 or test_per_class < 1:
        raise UsageError("glyphs need at least one picture a class to learn from and to test on")
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative; give 0 or more")
    masters = [_master(character) for character in _CHARACTERS.values()]
    preprocessing = Preprocessing(size_px)
    splits = []
    for split, per_class in (("train", train_per_class), ("test", test_per_class)):
        images = np.stack(
            [
                _picture(master, size_px, np.random.default_rng([seed, _SPLITS[split], label, i]))
                for label, master in enumerate(masters)
                for i in range(per_class)
            ]
        )
        labels = np.repeat(np.arange(len(masters), dtype=np.int64), per_class)
        splits.append(Split(images, labels, preprocessing))
    return ImageDataset(
        name=GLYPHS.name,
        classes=CLASSES,
        train=splits[0],
        test=splits[1],
        image_size_px=size_px,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        fingerprint=fingerprint_of(CLASSES, *splits),
        mirrors=False,
    )


GLYPHS = BuiltIn(
    "glyphs", lambda _, image_size_px, seed: load_glyphs(image_size_px=image_size_px, seed=seed)
)


def _master(character: str) -> Image.Image:
    """The character in white on black, its bounding box in the middle of the square."""
    try:
        font = ImageFont.load_default(_CAPITAL_PX)
    except (TypeError, ImportError, OSError):  # before 10.1 it takes no size
        font = None
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise DataError(
            "glyphs need Pillow 10.1 or newer with FreeType; run: pip install -U pillow"
        )
    left, top, right, bottom = font.getbbox(character)
    master = Image.new("L", (_MASTER_PX, _MASTER_PX))
    corner = ((_MASTER_PX - left - right) / 2, (_MASTER_PX - top - bottom) / 2)
    ImageDraw.Draw(master).text(corner, character, font=font, fill=255)
    return master


def _picture(master: Image.Image, size_px: int, rng: np.random.Generator) -> Pixels:
    """One picture, (S, S, 3) uint8."""
    pose = _Pose(
        angle_rad=math.radians(rng.uniform(-15, 15)),
        scale=rng.uniform(0.75, 1.3),
        stretch=rng.uniform(0.85, 1.18),
        slant=rng.uniform(-0.15, 0.15),
        shift=(rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12)),
    )
    ground, ink = _colours(rng)
    noise = rng.normal(0.0, rng.uniform(6, 32), (size_px, size_px, 3))
    cover = _cover(master, pose, size_px)[:, :, np.newaxis]
    picture = ground + cover * (ink - ground) + noise
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two RGB colours, ground and ink; the ink is lighter by enough to read by."""
    while True:
        ground, ink = rng.uniform(0, 255, (2, 3))
        if (ink - ground) @ _LUMINANCE >= _MIN_CONTRAST:
            return ground, ink


def _cover(master: Image.Image, pose: _Pose, size_px: int) -> npt.NDArray[np.float64]:
    """How much of each pixel the posed character covers, (S, S) in [0, 1]."""
    drawn_px = size_px * _OVERSAMPLING
    unit = _MASTER_PX / drawn_px / pose.scale
    cos, sin = math.cos(pose.angle_rad) * unit, math.sin(pose.angle_rad) * unit
    # From the picture's pixels back to the master's: turn, then stretch the width and slant.
    a, b = cos / pose.stretch - pose.slant * sin, sin / pose.stretch + pose.slant * cos
    d, e = -sin, cos
    x, y = (drawn_px * (0.5 + shift) for shift in pose.shift)
    middle = _MASTER_PX / 2
    coefficients = (a, b, middle - a * x - b * y, d, e, middle - d * x - e * y)
    drawn = master.transform(
        (drawn_px, drawn_px), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(drawn.reduce(_OVERSAMPLING), dtype=np.float64) / 255
