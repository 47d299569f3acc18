"""The verb `taught`: what was taught here, to look at, forget, take back, or carry home."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecil_devices.counting import counted
from edgecil_devices.errors import UsageError
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


def run(request: TaughtRequest) -> None:
    """Do it, and say what that came to.

    Raises:
        UsageError: there is nothing to do it with.
        StoreError: what is taught is damaged or cannot be written.
    """
    from edgecil_devices.classifier import Classifier

    _require_sense(request)
    classifier = Classifier.load(request.bundle, 1)
    record, lines = _DO[request.action](classifier, request)
    print(json.dumps(record, allow_nan=False) if request.json else "\n".join(lines))


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


def _list(classifier: "Classifier", request: TaughtRequest) -> tuple[Any, list[str]]:
    taught, allowed = classifier.taught, classifier.overlay.allowed
    record = [one._asdict() for one in taught]
    if not taught:
        teach = f"edgecil teach {typed(request.bundle)} --label NAME PHOTO..."
        why = teach if allowed else "the store was made with --no-teach"
        return record, [f"nothing is taught here; {why}"]
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
    for problem in classifier.problems:
        print(f"warning: {problem}", file=sys.stderr)
    return record, lines


def _forget(classifier: "Classifier", request: TaughtRequest) -> tuple[Any, list[str]]:
    count = classifier.forget(request.label or "")
    record = {"label": request.label, "forgotten": count}
    back = f"edgecil taught undo {typed(request.bundle)}"
    return record, [
        f"forgot {request.label!r}, {counted(count, 'picture')}; to bring them back: {back}"
    ]


def _undo(classifier: "Classifier", request: TaughtRequest) -> tuple[Any, list[str]]:
    classifier.undo()
    left = classifier.taught
    labels = ", ".join(f"{one.label} ({one.pictures})" for one in left) or "nothing"
    return {"taught": [one._asdict() for one in left]}, [f"undone; taught now: {labels}"]


def _export(classifier: "Classifier", request: TaughtRequest) -> tuple[Any, list[str]]:
    from edgecil_devices.teaching.carrying import export_taught

    assert request.out is not None
    counts = export_taught(classifier.overlay, request.out)
    pictures = sum(counts.values())
    lines = [
        f"wrote {request.out}: {counted(pictures, 'picture')} of {counted(len(counts), 'label')}",
        f"next, at the workstation: edgecil learn RUN --data {request.out.name}",
    ]
    return {"out": str(request.out), "pictures": counts}, lines


_DO: dict[str, Callable[["Classifier", TaughtRequest], tuple[Any, list[str]]]] = {
    "list": _list,
    "forget": _forget,
    "undo": _undo,
    "export": _export,
}
