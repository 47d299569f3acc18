"""How a picture becomes the pixels that a network sees: the rule, as data that a bundle carries.

`edgecil_devices.images` is what follows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from edgecil_devices.errors import BundleCorruptError, BundleVersionError, UsageError

BACKGROUND = (255, 255, 255)
"""The RGB colour that shows through transparent pixels."""

AS_STORED = "as-stored"
"""Colour profiles are ignored, and every picture is decoded whole: the only way once."""

FOR_PHOTOS = "srgb-reduced"
"""Colour profiles are turned into sRGB, and large JPEG pictures are decoded at a smaller scale."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes pixels, as data that a bundle carries.

    All fields but the sizes and `reading` have one known value today. They are written out so that
    a bundle made under another rule is refused instead of being read wrongly.

    Raises:
        UsageError: a size is out of range.
        BundleVersionError: a rule that this version does not know.
    """

    image_size_px: int
    """Side S of the square that the network sees, 8 to 1024."""
    orientation: str = "exif"
    """The picture is turned upright as its EXIF data say."""
    channels: str = "RGB"
    """Order of the three channels."""
    background: tuple[int, int, int] = BACKGROUND
    """RGB colour behind transparent pixels."""
    crop: str = "centre-square"
    """The largest centred square is used; an odd pixel more is cut on the right or bottom."""
    resample: str = "bilinear-antialiased"
    """The square is resized by Pillow's BILINEAR filter, which averages when it shrinks."""
    shorter_side_px: int | None = None
    """A margin is cut off: the shorter side is resized to this, more than S and at most 2048, and
    the S x S in the middle is used, as torchvision's Resize and CenterCrop do. None: no margin."""
    reading: str = AS_STORED
    """`FOR_PHOTOS` for what is trained today; bundles from before it keep to `AS_STORED`."""

    def __post_init__(self) -> None:
        if type(self.image_size_px) is not int or not 8 <= self.image_size_px <= 1024:
            raise UsageError(
                f"image size {self.image_size_px!r} is not possible; "
                "give whole pixels from 8 to 1024"
            )
        shorter_px = self.shorter_side_px
        if shorter_px is not None and (
            type(shorter_px) is not int or not self.image_size_px < shorter_px <= 2048
        ):
            raise UsageError(
                f"a shorter side of {shorter_px!r} is not possible; give whole pixels above the "
                f"image size, {self.image_size_px}, up to 2048"
            )
        for field, known in _RULE.items():
            if getattr(self, field) != known:
                raise BundleVersionError(
                    f"pictures would have to be prepared with {field} {getattr(self, field)!r}, "
                    f"and this edgecil knows only {known!r}; install a newer edgecil"
                )
        if self.reading not in (AS_STORED, FOR_PHOTOS):
            raise BundleVersionError(
                f"pictures would have to be read {self.reading!r}, and this edgecil knows only "
                f"{AS_STORED!r} and {FOR_PHOTOS!r}; install a newer edgecil"
            )

    @property
    def is_for_photos(self) -> bool:
        """Whether profiles are followed, and large pictures decoded at a smaller scale."""
        return self.reading == FOR_PHOTOS

    @property
    def least_side_px(self) -> int:
        """Pixels that the shorter side must have not to be enlarged."""
        return self.shorter_side_px or self.image_size_px

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values; what came later is named only where it is not as before."""
        rule = {field: getattr(self, field) for field in _RULE} | {
            "background": list(self.background)
        }
        margin = {} if self.shorter_side_px is None else {_MARGIN: self.shorter_side_px}
        reading = {} if self.reading == AS_STORED else {_READING: self.reading}
        return {"image_size_px": self.image_size_px, **rule, **margin, **reading}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            BundleCorruptError: an entry is missing or a size is not possible.
            BundleVersionError: a rule, or an entry, that this version does not know.
        """
        missing = sorted({"image_size_px", *_RULE} - set(values))
        if missing:
            raise BundleCorruptError(
                f"the preprocessing lacks {', '.join(missing)}; export the bundle again"
            )
        unknown = sorted(set(values) - {"image_size_px", _MARGIN, _READING, *_RULE})
        if unknown:
            raise BundleVersionError(
                f"the preprocessing has an unknown rule {unknown[0]!r}; install a newer edgecil"
            )
        background = values["background"]
        fields = dict(values)
        fields["background"] = tuple(background) if isinstance(background, list) else background
        try:
            return cls(**fields)
        except UsageError as error:
            raise BundleCorruptError(f"the preprocessing is damaged: {error}") from None


_MARGIN = "shorter_side_px"
_READING = "reading"
_RULE: dict[str, Any] = {
    "orientation": "exif",
    "channels": "RGB",
    "background": BACKGROUND,
    "crop": "centre-square",
    "resample": "bilinear-antialiased",
}
