"""What suits which board: one TOML file each, chosen by the model that the kernel reports.

`threads` is how many threads compute at once unless somebody asks for another number: one a core of
the board, and never more than that, since four are enough for networks this small.
`memory_limit_mb` is the memory that edgecil may take; the largest picture that is decoded follows
from it (`Profile.most_pixels`), and doctor compares it with what is free. `int8_compute_pays` says
whether the processor has dot products of bytes, without which `export --compute int8` gains little
or nothing (ARM-software/ComputeLibrary#855, ARM-software/armnn#511); doctor and bench tell it.

Sources: raspberrypi.com/documentation/computers/processors.html; /proc/device-tree/model holds, for
example, "Raspberry Pi 4 Model B Rev 1.4". A Raspberry Pi 400 or 500 has the board of a 4 or 5.
"""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgecil_devices.errors import UsageError
from edgecil_devices.limits import usable_cores

VARIABLE = "EDGECIL_PROFILE"
"""Names another profile than the board's own, for containers that hide the board, for example."""

MODEL = Path("/proc/device-tree/model")
"""Where the kernel of a board without a BIOS names it, with a NUL at the end."""

GENERIC = "generic"

_FOLDER = Path(__file__).parent
_WITHOUT_PICTURES_MB = 130
"""A process with ten blocks of ResNet32; benchmarks/footprint.py holds it to this."""
_BYTES_A_PIXEL = 12
"""Decoding takes 8 bytes a pixel for a JPEG, 12 if its EXIF data turn it, 16 for a WebP, 20 for a
PNG and 28 for a WebP with transparency (measured on 16 megapixels)."""


@dataclass(frozen=True)
class Profile:
    """What suits a board."""

    name: str
    """The file's name, "raspberry-pi-4"."""
    models: tuple[str, ...]
    """How the model's name begins on such boards."""
    threads: int
    """Threads that compute at once, unless another number is asked for."""
    memory_limit_mb: int
    """Memory that edgecil may take."""
    int8_compute_pays: bool | None = None
    """Whether computing in int8 is faster than in fp32; None: not known."""

    @property
    def most_pixels(self) -> int:
        """The largest picture, H times W, that the memory admits."""
        return (self.memory_limit_mb - _WITHOUT_PICTURES_MB) * 1_000_000 // _BYTES_A_PIXEL


@cache
def profiles() -> dict[str, Profile]:
    """All profiles by name."""
    return {path.stem: _read(path) for path in sorted(_FOLDER.glob("*.toml"))}


def current_profile() -> Profile:
    """The profile that EDGECIL_PROFILE names, or else this board's, or else the generic one.

    Raises:
        UsageError: there is no profile of that name.
    """
    return _named(asked) if (asked := os.environ.get(VARIABLE)) else _of_model(board_model())


@cache
def board_model(path: Path = MODEL) -> str:
    """The board's name; empty where the kernel does not tell it."""
    try:
        return path.read_text(errors="replace").rstrip("\0\n")
    except OSError:
        return ""


def default_threads() -> int:
    """As many threads as the profile has, but not more than there are cores to use."""
    return min(usable_cores(), current_profile().threads)


def _named(name: str) -> Profile:
    if name not in profiles():
        raise UsageError(f"{VARIABLE} is {name!r}; it must be one of {', '.join(profiles())}")
    return profiles()[name]


@cache
def _of_model(model: str) -> Profile:
    """The profile that has the longest name which `model` begins with."""
    fitting = [
        (len(name), profile.name)
        for profile in profiles().values()
        for name in profile.models
        if model.startswith(name)
    ]
    return profiles()[max(fitting)[1] if fitting else GENERIC]


def _read(path: Path) -> Profile:
    content = tomllib.loads(path.read_text("utf-8-sig"))
    return Profile(path.stem, **content | {"models": tuple(content["models"])})
