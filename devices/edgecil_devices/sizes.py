"""Sizes as people write them: "7.6MB" is 7,600,000 bytes."""

import re
from fractions import Fraction

from edgecil_devices.errors import UsageError

UNIT_BYTES = {
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
"""Every unit a budget may carry; a number without one is bytes."""

_SIZE = re.compile(r"(?P<number>\d{1,18}(\.\d{1,18})?) ?(?P<unit>[A-Za-z]*)", re.ASCII)


def parse_bytes(text: str) -> int:
    """Read a number of bytes: "7.6MB", "7.6 MiB", "500 kB", "3.5GB" or "7998016".

    A fraction of a byte is rounded down.

    Raises:
        UsageError: no number, no unit of `UNIT_BYTES`, or less than one byte.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = match["unit"] if match else ""
    if match is None or (unit and unit not in UNIT_BYTES) or (not unit and "." in match["number"]):
        raise UsageError(
            f"cannot read {text!r} as a size; write a number and one of the units "
            f"{', '.join(UNIT_BYTES)}, such as 7.6MB, or plain bytes, such as 7600000"
        )
    size_bytes = int(Fraction(match["number"]) * UNIT_BYTES.get(unit, 1))
    if size_bytes < 1:
        raise UsageError(
            f"a size of {text!r} leaves room for nothing; give at least one byte, as a plain "
            f"number or in {', '.join(UNIT_BYTES)}"
        )
    return size_bytes
