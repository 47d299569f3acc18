"""Names of classes: when two are the same, and what none may hold (`export/FORMAT.md`)."""

import re
import unicodedata

MAX_LENGTH = 255
"""Characters of a name."""

_UNSAFE = re.compile(r'[\x00-\x1f<>:"/\\|?*%]|^\.+|[. ]+$')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def composed(name: str) -> str:
    """The name in Unicode's form NFC, in which names are compared and kept.

    A Mac writes "é" as two characters and other systems as one; people see the same name.
    """
    return unicodedata.normalize("NFC", name)


def fault_of(name: str) -> str | None:
    """What makes this no name for a class, with the code points of characters; None if nothing.

    Control characters would steer a terminal, and a lone surrogate is no text at all. Joiners and
    whatever else writing systems need are sound.
    """
    if not name:
        return "it is empty"
    if len(name) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    if bad := dict.fromkeys(c for c in name if unicodedata.category(c) in ("Cc", "Cs")):
        return "it holds " + ", ".join(map(_code_point, bad))
    return None


def folder_name(name: str) -> str:
    """A class's name as that of a folder on any system: what some cannot have is written %XX."""
    safe = _UNSAFE.sub(lambda found: "".join(f"%{ord(c):02X}" for c in found[0]), name)
    return f"%{ord(safe[0]):02X}{safe[1:]}" if _RESERVED.fullmatch(safe) else safe


def _code_point(character: str) -> str:
    value = ord(character)
    if 0xDC80 <= value <= 0xDCFF:  # how Python reads a byte of a file's name that is no UTF-8
        return f"U+{value:04X} (the byte 0x{value - 0xDC00:02X}, which is no UTF-8)"
    return f"U+{value:04X}"
