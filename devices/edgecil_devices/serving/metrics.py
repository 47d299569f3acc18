"""What a server has counted and timed, in the text format that Prometheus reads."""

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the latency histogram, in seconds."""


class Metrics:
    """Counts requests and times pictures. For one thread."""

    def __init__(self) -> None:
        self.connections = 0
        """Open now."""
        self._start = time.monotonic()
        self._answers: Counter[tuple[str, int]] = Counter()
        self._in_bucket = [0] * (len(BUCKETS_S) + 1)
        self._seconds = 0.0
        self._stages_ms: Counter[str] = Counter()
        self._taught: Counter[str] = Counter()

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def answered(self, path: str, code: int) -> None:
        """Count an answer.

        Args:
            path: one of a few: what clients make up would grow without bound.
            code: the HTTP status.
        """
        self._answers[path, code] += 1

    def classified(self, seconds: float, stages_ms: Mapping[str, float]) -> None:
        """Time a picture.

        Args:
            seconds: from the picture, whole, to its answer.
            stages_ms: what they were spent on.
        """
        self._in_bucket[bisect_left(BUCKETS_S, seconds)] += 1
        self._seconds += seconds
        for stage, ms in stages_ms.items():
            self._stages_ms[stage] += ms  # type: ignore[assignment]

    def taught(self, action: str, pictures: int) -> None:
        """Count pictures that a person has done something with.

        Args:
            action: what, one of a few.
            pictures: how many.
        """
        self._taught[action] += pictures

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """All of it.

        Args:
            gauges: further values by name, each with its description.
        """
        now = {
            "uptime_seconds": ("Since the server was started.", self.uptime_s),
            "resident_memory_bytes": ("Memory of this process.", resident_memory_bytes()),
        } | dict(gauges)
        lines = [*self._counters(), *self._histogram()]
        for name, (described, value) in now.items():
            lines += [*_about(name, "gauge", described), f"edgecil_{name} {value:.15g}"]
        return "\n".join(lines) + "\n"

    def _counters(self) -> Iterator[str]:
        yield from _about("requests_total", "counter", "Requests answered, by path and code.")
        for (path, code), count in sorted(self._answers.items()):
            yield f'edgecil_requests_total{{path="{path}",code="{code}"}} {count}'
        yield from _about("stage_seconds_total", "counter", "What pictures spent their time on.")
        for stage, ms in self._stages_ms.items():
            yield f'edgecil_stage_seconds_total{{stage="{stage}"}} {ms / 1e3:.6f}'
        yield from _about(
            "teaching_pictures_total", "counter", "Pictures taught, by what was done."
        )
        for action, count in sorted(self._taught.items()):
            yield f'edgecil_teaching_pictures_total{{action="{action}"}} {count}'

    def _histogram(self) -> Iterator[str]:
        yield from _about("predict_seconds", "histogram", "From a picture to its answer.")
        ends = (*(f"{end:g}" for end in BUCKETS_S), "+Inf")
        for end, count in zip(ends, accumulate(self._in_bucket), strict=True):
            yield f'edgecil_predict_seconds_bucket{{le="{end}"}} {count}'
        yield f"edgecil_predict_seconds_sum {self._seconds:.6f}"
        yield f"edgecil_predict_seconds_count {sum(self._in_bucket)}"


def resident_memory_bytes() -> int:
    """Memory of this process, as Linux tells it; 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _about(name: str, kind: str, described: str) -> tuple[str, str]:
    return f"# HELP edgecil_{name} {described}", f"# TYPE edgecil_{name} {kind}"
