"""The verb `predict`, as both command lines run it: pictures in, one line each out."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgecil_devices.errors import ImageError, UsageError
from edgecil_devices.output import CLOSED_PIPE, write_line
from edgecil_devices.stream import Agreement, Answerer, StopSignals

if TYPE_CHECKING:
    from edgecil_devices.following import Following
    from edgecil_devices.sources import Item, Unreadable

HELP = {
    "sources": "Files, folders, quoted patterns, - for paths on standard input, http(s) addresses; "
    "or alone: camera, camera:N (USB), csi.",
    "watch": "Go on with the pictures that appear in this folder from now on.",
    "top": "How many of the likeliest classes to show.",
    "threshold": "Below this probability, 0 to 1, the answer is unknown.",
    "agree": "For streams: tell a label only when so many of the last frames say so, 3/5.",
    "batch": "Pictures to classify at once: faster for many, but their lines come together. "
    "A camera and --watch take one at a time.",
    "threads": "Threads that may compute at once.",
    "timing": "Show what the time was spent on.",
    "json": "Print one JSON object a picture.",
}
"""One description of each option for both command lines."""

_MOST_BYTES_AT_ONCE = 16_000_000
"""Files of a batch, before they are decoded; one alone may be larger."""


@dataclass(frozen=True)
class PredictRequest:
    """What one call of `predict` asks for.

    Raises:
        UsageError: the values cannot be.
    """

    bundle: Path
    """A bundle, or the folder of a store, whose releases are followed."""
    sources: tuple[str, ...] = ()
    """As `edgecil_devices.sources.pictures_of` takes them."""
    watch: Path | None = None
    """A folder whose new pictures come after the sources."""
    top: int = 3
    """How many of the likeliest classes to show."""
    threshold: float | None = None
    """Below this probability, 0 to 1, the answer is unknown."""
    agree: str | None = None
    """`3/5`: at least 3 of the last 5 frames must say so."""
    batch: int = 1
    """How many pictures are classified at once, where they need not be waited for; at most 256."""
    threads: int | None = None
    """How many threads may compute at once; None: as the profile has it."""
    timing: bool = False
    """Show what the time was spent on."""
    json: bool = False
    """Print JSON lines."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"--top must be at least 1, not {self.top}")
        if not 1 <= self.batch <= 256:
            raise UsageError(f"--batch must be from 1 to 256, not {self.batch}; 16 suits most")
        self.answerer()

    def answerer(self) -> Answerer | None:
        """Decides the answers, if they are others than the likeliest classes."""
        if self.threshold is None and self.agree is None:
            return None
        return Answerer(self.threshold, Agreement.parse(self.agree) if self.agree else None)


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the arguments of this verb to argparse."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="A bundle, or a store.")
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=HELP["sources"])
    parser.add_argument("--watch", type=Path, metavar="DIR", help=HELP["watch"])
    parser.add_argument("--top", type=int, default=3, metavar="N", help=HELP["top"] + " (3)")
    parser.add_argument("--threshold", type=float, metavar="T", help=HELP["threshold"])
    parser.add_argument("--agree", metavar="K/N", help=HELP["agree"])
    parser.add_argument("--batch", type=int, default=1, metavar="N", help=HELP["batch"] + " (1)")
    parser.add_argument("--threads", type=int, metavar="N", help=HELP["threads"])
    parser.add_argument("--timing", action="store_true", help=HELP["timing"])
    parser.add_argument("--json", action="store_true", help=HELP["json"])


def run(arguments: Namespace) -> int:
    """Run this verb on what argparse found; the exit code."""
    values = {field: getattr(arguments, field) for field in PredictRequest.__dataclass_fields__}
    return predict(PredictRequest(**values | {"sources": tuple(arguments.sources)}))


def predict(request: PredictRequest) -> int:
    """Classify pictures and print a line for each as soon as it is there.

    Lines go to standard output; what is wrong with single pictures goes to standard error.

    Returns:
        The exit code: 0; 1 if a picture could not be read; 128 and the signal's number if a signal
        ended it before the last picture, though not for a camera or a watched folder, which end in
        no other way; 141 if the reader of standard output went away.

    Raises:
        UsageError: the sources do not fit together.
        BundleError: the bundle cannot be used.
        StoreError: the store cannot be used.
        EdgecilError: the camera or the watched folder has gone.
    """
    try:
        return _predict(request)
    except BrokenPipeError:
        return CLOSED_PIPE


def _predict(request: PredictRequest) -> int:
    from edgecil_devices.following import Following
    from edgecil_devices.prediction_lines import error_line, json_error_line
    from edgecil_devices.sources import Unreadable, is_endless, pictures_of

    with StopSignals() as signals:
        endless = is_endless(request.sources, request.watch)
        items = pictures_of(request.sources, request.watch, _standard_input)
        start = time.perf_counter()
        following = Following(request.bundle, request.threads)
        if request.timing:
            load_ms = (time.perf_counter() - start) * 1e3
            write_line(sys.stderr, f"{request.bundle} loaded in {load_ms:.0f} ms")
        if request.watch:
            write_line(sys.stderr, f"watching {request.watch}; Ctrl-C ends it")
        failed, problem = False, None
        groups = _groups(signals.until_stopped(items), 1 if endless else request.batch)
        for line in _lines(request, following, groups):
            if following.problem != problem and (problem := following.problem):
                write_line(sys.stderr, f"warning: {problem}")
            if isinstance(line, Unreadable):
                failed = True
                write_line(sys.stderr, error_line(line))
                if request.json:
                    write_line(sys.stdout, json_error_line(line))
            else:
                write_line(sys.stdout, line)
        if signals.received is not None and not endless:
            return 128 + signals.received
        return int(failed)


def _groups(items: Iterator["Item"], most: int) -> Iterator[list["Item"]]:
    """The items in their order, `most` at a time, or fewer if their files are large."""
    from edgecil_devices.sources import Unreadable

    group: list[Item] = []
    size_bytes = 0
    for item in items:
        group.append(item)
        size_bytes += 0 if isinstance(item, Unreadable) else len(item.data)
        if len(group) == most or size_bytes >= _MOST_BYTES_AT_ONCE:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group


def _lines(
    request: PredictRequest, following: "Following", groups: Iterator[list["Item"]]
) -> Iterator["str | Unreadable"]:
    from edgecil_devices.prediction_lines import json_line, text_line
    from edgecil_devices.sources import Unreadable

    answerer = request.answerer()
    for group in groups:
        pictures = [item.data for item in group if not isinstance(item, Unreadable)]
        found = iter(following.classifier().predict_batch(pictures, top=request.top))
        for item in group:
            if isinstance(item, Unreadable):
                yield item
                continue
            prediction = next(found)
            if isinstance(prediction, ImageError):
                yield Unreadable(item.name, str(prediction))
                continue
            answer = answerer.answer(prediction.label, prediction.score) if answerer else None
            if request.json:
                yield json_line(item, prediction, answer)
            else:
                yield text_line(item, prediction, answer, request.timing)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("standard input is closed; give the paths as arguments")
    return sys.stdin.buffer
