"""The verb `taught`: what was taught here, to look at, forget, take back, or carry home."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgecil_devices.counting import counted
from edgecil_devices.errors import StoreDamagedError, UsageError
from edgecil_devices.options import BUNDLE, JSON, described, option
from edgecil_devices.output import typed

if TYPE_CHECKING:
    from edgecil_devices.classifier import Classifier

NOTABLE_LOSS = 0.05
"""The estimated part of a class's pictures from which on it is said that they will be taken for
another."""


@dataclass(frozen=True)
class TaughtRequest:
    """What one call of `taught` asks for."""

    action: str = field(metadata=described("list, forget, undo or export.", argument=True))
    bundle: Path = field(metadata=BUNDLE)
    label: str | None = option(None, "With forget: whose pictures; all of them go.")
    out: Path | None = option(None, "With export: the zip file to write.", metavar="FILE")
    json: bool = field(default=False, metadata=JSON)


class _Done(NamedTuple):
    """What an action came to."""

    record: Any
    """For --json."""
    lines: list[str]
    """For people."""
    fault: str = ""
    """What is wrong though it was done; empty where nothing is."""


def run(request: TaughtRequest) -> None:
    """Do it, and say what that came to.

    Raises:
        UsageError: there is nothing to do it with.
        StoreError: what is taught is damaged or cannot be written; an export has then been made of
            what is sound, if anything is.
    """
    from edgecil_devices.classifier import Classifier

    _require_sense(request)
    classifier = Classifier.load(request.bundle, 1)
    done = _DO[request.action](classifier, request)
    print(json.dumps(done.record, allow_nan=False) if request.json else "\n".join(done.lines))
    if done.fault:
        raise StoreDamagedError(done.fault)


def _require_sense(request: TaughtRequest) -> None:
    if request.action not in _DO:
        raise UsageError(f"taught can {', '.join(_DO)}, not {request.action!r}")
    for action, name, value in (
        ("forget", "--label", request.label),
        ("export", "--out", request.out),
    ):
        if (request.action == action) != (value is not None):
            needs = "needs" if request.action == action else "takes no"
            raise UsageError(f"taught {request.action} {needs} {name}")


def _list(classifier: "Classifier", request: TaughtRequest) -> _Done:
    taught, allowed = classifier.taught, classifier.overlay.allowed
    record = [one._asdict() for one in taught]
    if not taught:
        teach = f"edgecil teach {typed(request.bundle)} --label NAME PHOTO..."
        why = teach if allowed else "the store was made with --no-teach"
        return _Done(record, [f"nothing is taught here; {why}"])
    if not allowed:
        print(
            "warning: the store was made with --no-teach; none of this has a say in its answers",
            file=sys.stderr,
        )
    width = max(len(one.label) for one in taught)
    lines = []
    for one in taught:
        sure = "" if one.recognised is None else f"  {100 * one.recognised:.0f} % when left out"
        if one.takes_from and one.takes_from[1] >= NOTABLE_LOSS:
            name, part = one.takes_from
            sure += f"; may take {100 * part:.0f} % of {name}"
        lines.append(f"{one.label:<{width}}  {one.kind:<10}  {one.pictures:>4} pictures{sure}")
    _warn(classifier.problems)
    return _Done(record, lines)


def _forget(classifier: "Classifier", request: TaughtRequest) -> _Done:
    count = classifier.forget(request.label or "")
    record = {"label": request.label, "forgotten": count}
    back = f"edgecil taught undo {typed(request.bundle)}"
    told = f"forgot {request.label!r}, {counted(count, 'picture')}; to bring them back: {back}"
    return _Done(record, [told])


def _undo(classifier: "Classifier", request: TaughtRequest) -> _Done:
    classifier.undo()
    left = classifier.taught
    labels = ", ".join(f"{one.label} ({one.pictures})" for one in left) or "nothing"
    record = {"taught": [one._asdict() for one in left]}
    return _Done(record, [f"undone; taught now: {labels}"])


def _export(classifier: "Classifier", request: TaughtRequest) -> _Done:
    from edgecil_devices.teaching.carrying import export_taught

    assert request.out is not None
    counts, damaged = export_taught(classifier.overlay, request.out)
    _warn(damaged)
    pictures = sum(counts.values())
    lines = [
        f"wrote {request.out}: {counted(pictures, 'picture')} of {counted(len(counts), 'label')}",
        f"next, at the workstation: edgecil learn RUN --data {request.out.name}",
    ]
    record = {"out": str(request.out), "pictures": counts}
    if not damaged:
        return _Done(record, lines)
    lost = counted(len(damaged), "damaged picture")
    fault = (
        f"{request.out} lacks {lost}, see above; restore the files, if you can, and export again"
    )
    return _Done(record, lines, fault)


def _warn(problems: Iterable[str]) -> None:
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


_DO: dict[str, Callable[["Classifier", TaughtRequest], _Done]] = {
    "list": _list,
    "forget": _forget,
    "undo": _undo,
    "export": _export,
}
