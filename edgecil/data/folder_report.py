"""What was found in a folder of pictures, and how a person is told."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecil_devices.decoders import NEEDS_AVIF, NEEDS_HEIC

_LACKING = (NEEDS_HEIC, NEEDS_AVIF)


@dataclass(frozen=True)
class FolderReport:
    """What was found in a folder before anything was learned from it."""

    folder: Path
    """The folder that was read."""
    used: int
    """Pictures that are used."""
    damaged: tuple[tuple[Path, str], ...]
    """Files that cannot be read, or not with what is installed, with the reason; they are left
    out."""
    copies: tuple[tuple[Path, Path], ...]
    """Files that are left out, each with the one of the same bytes and class that stays."""
    contradictions: tuple[tuple[Path, ...], ...]
    """Files of the same bytes in several classes; all are left out."""
    ignored: Mapping[str, int]
    """Number of files that were not looked into, by their ending."""
    not_followed: tuple[tuple[Path, str], ...] = ()
    """Links to folders that lead nowhere or in a circle, with the reason."""

    def lines(self, limit: int = 10) -> list[str]:
        """What is wrong as text, one line each and at most `limit` of each kind; [] if nothing."""
        lacking = Counter(reason for _, reason in self.damaged if reason in _LACKING)
        kinds = [
            (
                "damaged, left out",
                [
                    f"{self._short(path)}: {reason}"
                    for path, reason in self.damaged
                    if reason not in lacking
                ],
            ),
            (
                "copies within a class, left out",
                [f"{self._short(path)} is {self._short(kept)}" for path, kept in self.copies],
            ),
            (
                "pictures in several classes, left out everywhere",
                [" = ".join(map(self._short, paths)) for paths in self.contradictions],
            ),
            (
                "files that are no pictures by their ending, not looked into",
                [f"{suffix or '(none)'}: {count}" for suffix, count in self.ignored.items()],
            ),
            (
                "links not followed",
                [f"{self._short(path)}: {reason}" for path, reason in self.not_followed],
            ),
        ]
        # One line for all of them: what helps one helps all.
        lines = [
            f"{self.folder}: {count} pictures left out: {reason}"
            for reason, count in lacking.items()
        ]
        for title, found in kinds:
            if found:
                count = sum(self.ignored.values()) if "ending" in title else len(found)
                lines.append(f"{self.folder}: {count} {title}")
                lines += [f"  {line}" for line in found[:limit]]
                if len(found) > limit:
                    lines.append(f"  ... and {len(found) - limit} more")
        return lines

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.folder))
