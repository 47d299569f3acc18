"""Pictures that were decoded at a smaller scale, and where the whole lies in them.

A side of 1203 pixels at an eighth has 150.4, decoded as 151: cutting and resizing go by the whole
picture's own size, so that nothing moves or is stretched.
"""

from dataclasses import dataclass
from typing import Self, TypeAlias

from PIL import Image

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

ON_ITS_SIDE = (5, 6, 7, 8)
"""Values of the EXIF orientation of pictures whose stored rows are columns."""

_KEY = "edgecil reduced"


@dataclass(frozen=True)
class Reduced:
    """How a picture that was decoded at a smaller scale lies in the whole one."""

    whole: tuple[int, int]
    """Width and height of the whole, upright."""
    scale: int
    """Pixels of the whole to a side of one of these."""
    left: float
    """Where the whole begins: the last pixel of a row may stand for fewer than the others, and be
    the first one in the upright picture."""
    top: float
    """Likewise."""

    @classmethod
    def of(cls, stored: tuple[int, int], scale: int, orientation: int) -> Self:
        """Of a picture whose file has the size `stored`."""
        lies = orientation in ON_ITS_SIDE
        whole = stored[::-1] if lies else stored
        rest_x, rest_y = (-side % scale / scale for side in whole)
        left = rest_x if orientation in (2, 3, 6, 7) else 0.0
        return cls(whole, scale, left, rest_y if orientation in (3, 4, 7, 8) else 0.0)

    def box(self, box: Box) -> Box:
        """A box of the whole, in these pixels."""
        x0, y0, x1, y1 = (value / self.scale for value in box)
        return x0 + self.left, y0 + self.top, x1 + self.left, y1 + self.top


def note(image: Image.Image, reduced: Reduced) -> None:
    """Have an image know how it lies in the whole picture."""
    image.info[_KEY] = reduced


def whole_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the whole picture, at whatever scale it was decoded."""
    reduced = image.info.get(_KEY)
    return image.size if reduced is None else reduced.whole


def box_in(image: Image.Image, box: Box) -> Box:
    """A box of the whole picture as one of what `read_image` has decoded of it."""
    reduced = image.info.get(_KEY)
    return box if reduced is None else reduced.box(box)
