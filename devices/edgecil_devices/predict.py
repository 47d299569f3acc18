"""The verb `predict`, as both command lines run it: pictures in, one line each out."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecil_devices.computation import AUTO, warning_of
from edgecil_devices.errors import ImageError, UsageError
from edgecil_devices.options import (
    BUNDLE,
    COLLECT,
    COLLECT_BELOW,
    COLLECT_MOST,
    COMPUTE,
    DEFAULT_BELOW,
    DEFAULT_MOST,
    THREADS,
    UNKNOWN,
    option,
    require_collect,
    require_percent,
)
from edgecil_devices.output import CLOSED_PIPE, write_line
from edgecil_devices.stream import Agreement, Answerer, StopSignals

if TYPE_CHECKING:
    from edgecil_devices.collecting import Collector
    from edgecil_devices.following import Following
    from edgecil_devices.sources import Item, Unreadable

_MOST_BYTES_AT_ONCE = 16_000_000
"""Files of a batch, before they are decoded; one alone may be larger."""


@dataclass(frozen=True)
class PredictRequest:
    """What one call of `predict` asks for.

    Raises:
        UsageError: the values cannot be.
    """

    bundle: Path = field(metadata=BUNDLE)
    sources: tuple[str, ...] = option(
        (),
        "Files, folders, quoted patterns, - for paths on standard input, http(s) addresses; or "
        "alone: camera, camera:N (USB), csi, csi:N (ribbon cable).",
        argument=True,
        metavar="SOURCE",
    )
    watch: Path | None = option(
        None, "Go on with the pictures that appear in this folder from now on.", metavar="DIR"
    )
    top: int = option(3, "How many of the likeliest classes to show.")
    threshold: float | None = option(None, "Below this probability, 0 to 1, the answer is unknown.")
    unknown: float | None = field(default=None, metadata=UNKNOWN)
    collect: Path | None = field(default=None, metadata=COLLECT)
    collect_below: float = field(default=DEFAULT_BELOW, metadata=COLLECT_BELOW)
    collect_most: int = field(default=DEFAULT_MOST, metadata=COLLECT_MOST)
    agree: str | None = option(
        None,
        "For streams: tell a label only when so many of the last frames say so, 3/5.",
        metavar="K/N",
    )
    batch: int = option(
        1,
        "Pictures to classify at once: faster for many, but their lines come together. A "
        "camera and --watch take one at a time.",
    )
    threads: int | None = field(default=None, metadata=THREADS)
    compute: str = field(default=AUTO, metadata=COMPUTE)
    timing: bool = option(False, "Show what the time was spent on.")
    json: bool = option(False, "Print one JSON object a picture.")

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"--top must be at least 1, not {self.top}")
        if not 1 <= self.batch <= 256:
            raise UsageError(f"--batch must be from 1 to 256, not {self.batch}; 16 suits most")
        require_percent(self.unknown)
        require_collect(self.collect, self.collect_below, self.collect_most)
        self.answerer()

    def answerer(self) -> Answerer | None:
        """Decides the answers, if they are others than the likeliest classes."""
        if self.threshold is None and self.agree is None and self.unknown is None:
            return None
        return Answerer(self.threshold, Agreement.parse(self.agree) if self.agree else None)

    def collector(self) -> "Collector | None":
        """Keeps unsure pictures, if that was asked for."""
        from edgecil_devices.collecting import Collector

        if self.collect is None:
            return None
        return Collector(self.collect, self.collect_below, self.collect_most)


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
        items = pictures_of(request.sources, request.watch)
        start = time.perf_counter()
        following = Following(request.bundle, request.threads, compute=request.compute)
        if told := warning_of(request.compute, following.classifier().note):
            write_line(sys.stderr, told)
        if request.timing:
            load_ms = (time.perf_counter() - start) * 1e3
            write_line(sys.stderr, f"{request.bundle} loaded in {load_ms:.0f} ms")
        if request.unknown is not None:
            write_line(sys.stderr, following.classifier().unknown_in_words(request.unknown))
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
    from edgecil_devices.collecting import Unsure, kept_by
    from edgecil_devices.prediction_lines import json_line, text_line
    from edgecil_devices.sources import Unreadable

    answerer, collector = request.answerer(), request.collector()
    warned = False
    for group in groups:
        pictures = [item.data for item in group if not isinstance(item, Unreadable)]
        classifier = following.classifier()
        found = iter(classifier.predict_batch(pictures, top=request.top))
        # A later release of a store may have no thresholds.
        percent = request.unknown if classifier.manifest.unknown else None
        if percent != request.unknown and not warned:
            warned = True
            _warn("the release that is current now has no thresholds, so nothing is called unknown")
        for item in group:
            if isinstance(item, Unreadable):
                yield item
                continue
            prediction = next(found)
            if isinstance(prediction, ImageError):
                yield Unreadable(item.name, str(prediction))
                continue
            known = percent is None or classifier.knows(prediction, percent)
            if collector:
                unsure = Unsure(prediction.label, prediction.score, known)
                kept_by(collector, item.data, unsure, _warn)
            answer = (
                answerer.answer(prediction.label, prediction.score, known) if answerer else None
            )
            if request.json:
                yield json_line(item, prediction, answer)
            else:
                yield text_line(item, prediction, answer, request.timing)


def _warn(text: str) -> None:
    write_line(sys.stderr, f"warning: {text}")
