"""The addresses with which the page teaches: what was taught, and pictures that wait for a label.

GET    /taught                         everything that was taught, as every change answers too
POST   /taught?label=mug               pictures of it: the body is one, or a form of several
POST   /taught?label=mug&correct=1     pictures of a class of the release that it got wrong
DELETE /taught?label=mug               forget it
POST   /taught/undo                    take back the last step
GET    /taught/picture?sha256=...      one picture as it is kept
GET    /taught/export                  all of them as a zip file
GET    /collected                      pictures of unsure answers
GET    /collected/picture?name=...     one of them, small
POST   /collected?label=mug            {"pictures": [names]}: they show it
POST   /collected/discard              {"pictures": [names]}: they are of no use
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from edgecil_devices._json import json_object
from edgecil_devices.class_names import composed
from edgecil_devices.classifier import Classifier
from edgecil_devices.collected import Collection
from edgecil_devices.counting import counted
from edgecil_devices.decoders import suffix_of
from edgecil_devices.errors import RequestError
from edgecil_devices.serving.classifying import Classifying
from edgecil_devices.serving.guard import require_no_proxy
from edgecil_devices.serving.messages import Answer, Head
from edgecil_devices.serving.metrics import Metrics
from edgecil_devices.serving.multipart import files_in_form, is_form
from edgecil_devices.serving.routes import Handler, ReadBody, Routes
from edgecil_devices.serving.token import Token
from edgecil_devices.teaching.carrying import taught_zip
from edgecil_devices.teaching.records import TaughtPicture
from edgecil_devices.teaching.step import MOST_AT_ONCE, TeachingStep

SOURCE = "page"
"""Where pictures that came this way are said to come from."""

MOST_SHOWN = 60
"""Collected pictures that are listed at once; the page asks again for the next."""

_KINDS = {".webp": "image/webp", ".jpg": "image/jpeg", ".png": "image/png"}


class TeachingAddresses:
    """Teaches the classifier that answers.

    Args:
        classifying: has it, one request at a time.
        metrics: counts the pictures.
        token: who teaches must know it; None where only this machine can reach us.
        collection: of unsure answers; None where none are kept.
    """

    def __init__(
        self,
        classifying: Classifying,
        metrics: Metrics,
        token: Token | None,
        collection: Collection | None,
    ) -> None:
        self._classifying, self._metrics = classifying, metrics
        self._token, self._collection = token, collection

    @property
    def routes(self) -> Routes:
        """The addresses."""
        routes: dict[str, dict[str, Handler]] = {
            "/taught": {"GET": self._show, "POST": self._teach, "DELETE": self._forget},
            "/taught/undo": {"POST": self._undo},
            "/taught/picture": {"GET": self._picture},
            "/taught/export": {"GET": self._export},
        }
        if self._collection is not None:
            routes |= {
                "/collected": {"GET": self._collected, "POST": self._label},
                "/collected/picture": {"GET": self._thumbnail},
                "/collected/discard": {"POST": self._discard},
            }
        return {
            path: {method: self._for_those_who_may(handler) for method, handler in methods.items()}
            for path, methods in routes.items()
        }

    def info(self) -> dict[str, bool]:
        """What the page needs to know."""
        return {"token": self._token is not None, "collected": self._collection is not None}

    def _for_those_who_may(self, handler: Handler) -> Handler:
        async def checked(head: Head, read_body: ReadBody) -> Answer:
            if self._token is not None:
                self._token.require(head)
            else:
                require_no_proxy(head)
            return await handler(head, read_body)

        return checked

    # --- what was taught ---------------------------------------------------------------------

    async def _show(self, head: Head, read_body: ReadBody) -> Answer:
        _asked(head)
        return Answer.of_json(await self._classifying.apply(_everything))

    async def _teach(self, head: Head, read_body: ReadBody) -> Answer:
        asked = _asked(head, "label", correct="")
        pictures = _pictures(await read_body(), head.fields.get("content-type", ""))

        def work(classifier: Classifier) -> dict[str, Any]:
            step = _taught(classifier, asked["label"], pictures, bool(asked["correct"]))
            return _told(classifier, step)

        return self._counted("taught", await self._classifying.apply(work))

    async def _forget(self, head: Head, read_body: ReadBody) -> Answer:
        label = _asked(head, "label")["label"]

        def work(classifier: Classifier) -> dict[str, Any]:
            gone = _gone(classifier, partial(classifier.forget, label))
            told = _everything(classifier) | {"pictures": len(gone)}
            if self._collection and (filed := self._collection.filed(*_labelled(gone))):
                told["said"] = [f"{filed[0].parent} still has {len(filed)} of them to learn from"]
            return told

        return self._counted("forgotten", await self._classifying.apply(work))

    async def _undo(self, head: Head, read_body: ReadBody) -> Answer:
        _asked(head)

        def work(classifier: Classifier) -> dict[str, Any]:
            gone = _gone(classifier, classifier.undo)
            told = _everything(classifier)
            if self._collection and gone and (n := self._collection.take_back(*_labelled(gone))):
                told |= self._listed()
                told["said"] = [f"{counted(n, 'collected picture')} can be chosen again"]
            return told

        return Answer.of_json(await self._classifying.apply(work))

    async def _picture(self, head: Head, read_body: ReadBody) -> Answer:
        sha256 = _asked(head, "sha256")["sha256"]

        def work(classifier: Classifier) -> bytes:
            for one in classifier.overlay.records().present:
                if one.sha256 == sha256:
                    return classifier.overlay.picture(one)
            raise RequestError(404, "there is no such picture any more")

        data = await self._classifying.apply(work)
        return Answer(data, _KINDS.get(suffix_of(data), "application/octet-stream"))

    async def _export(self, head: Head, read_body: ReadBody) -> Answer:
        _asked(head)
        data, _ = await self._classifying.apply(lambda one: taught_zip(one.overlay))
        as_file = {"Content-Disposition": 'attachment; filename="taught.zip"'}
        return Answer(data, "application/zip", headers=as_file)

    # --- what was collected ------------------------------------------------------------------

    @property
    def _waiting(self) -> Collection:
        assert self._collection is not None  # or there would be no route
        return self._collection

    async def _collected(self, head: Head, read_body: ReadBody) -> Answer:
        _asked(head)
        return Answer.of_json(await self._classifying.apply(lambda _: self._listed()))

    def _listed(self) -> dict[str, Any]:
        pictures = self._waiting.pictures()
        shown = [one._asdict() for one in pictures[:MOST_SHOWN]]
        return {"collected": shown, "collected_total": len(pictures)}

    async def _thumbnail(self, head: Head, read_body: ReadBody) -> Answer:
        name = _asked(head, "name")["name"]
        data = await self._classifying.apply(lambda _: self._waiting.thumbnail(name))
        return Answer(data, "image/jpeg")

    async def _label(self, head: Head, read_body: ReadBody) -> Answer:
        label = _asked(head, "label")["label"]
        names = _names(await read_body())

        def work(classifier: Classifier) -> dict[str, Any]:
            paths = self._waiting.paths(names)
            known = composed(label.strip()) in map(composed, classifier.classes)
            step = _taught(classifier, label, paths, known, names)
            unreadable = dict(step.unreadable)  # nothing can be learned from these: they stay
            self._waiting.file_as(step.label, [one for one in names if one not in unreadable])
            return _told(classifier, step) | self._listed()

        return self._counted("labelled", await self._classifying.apply(work))

    async def _discard(self, head: Head, read_body: ReadBody) -> Answer:
        _asked(head)
        names = _names(await read_body())

        def work(_: Classifier) -> dict[str, Any]:
            self._waiting.discard(names)
            return self._listed() | {"pictures": len(names)}

        return self._counted("discarded", await self._classifying.apply(work))

    def _counted(self, action: str, told: dict[str, Any]) -> Answer:
        self._metrics.taught(action, told["pictures"])
        return Answer.of_json(told)


def _gone(classifier: Classifier, change: Callable[[], object]) -> list[TaughtPicture]:
    """What no longer counts after a change: pictures of one label."""
    before = classifier.overlay.records().present
    change()
    left = {(one.sha256, one.label) for one in classifier.overlay.records().present}
    return [one for one in before if (one.sha256, one.label) not in left]


def _labelled(pictures: Sequence[TaughtPicture]) -> tuple[str, list[str]]:
    """The label of pictures, and where they come from: names of those that were collected."""
    return pictures[0].label, [one.source for one in pictures]


def _everything(classifier: Classifier) -> dict[str, Any]:
    """What was taught, as the page shows it."""
    records = classifier.overlay.records()
    labels = [
        one._asdict() | {"newest": records.of_label(one.label)[-1].sha256}
        for one in classifier.taught
    ]
    return {
        "taught": labels,
        "bytes": classifier.taught_bytes,
        "budget": records.budget_bytes,
        "can_undo": records.operation > 0 and records.can_be_undone,
        "problems": classifier.problems,
    }


def _taught(
    classifier: Classifier,
    label: str,
    pictures: list[Any],
    correct: bool,
    names: list[str] | None = None,
) -> TeachingStep:
    names = names or [SOURCE] * len(pictures)
    if correct:
        return classifier.correct(pictures, label, names=names)
    return classifier.teach(label, pictures, names=names)


def _told(classifier: Classifier, step: TeachingStep) -> dict[str, Any]:
    """What a step came to, and all that was taught, as the page shows it."""
    left_out = [f"{name}: {why}" for name, why in step.unreadable]
    said = {"label": step.label, "pictures": step.taught, "said": [*step.lines(), *left_out]}
    return _everything(classifier) | said


def _pictures(body: bytes, content_type: str) -> list[bytes]:
    found = files_in_form(body, content_type, MOST_AT_ONCE) if is_form(content_type) else [body]
    found = [one for one in found if one]
    if not found:
        raise RequestError(400, "there is no picture in the request")
    return found


def _names(body: bytes) -> list[str]:
    """The pictures that a person has chosen."""
    try:
        names = json_object(body)["pictures"]
    except (ValueError, TypeError, KeyError):
        names = None
    if not (isinstance(names, list) and names and all(isinstance(one, str) for one in names)):
        raise RequestError(400, 'the body must be {"pictures": [names of collected pictures]}')
    return list(dict.fromkeys(names))


def _asked(head: Head, *needed: str, **optional: str) -> dict[str, str]:
    """The values of a query, which must be those that are expected and no others."""
    values = dict(parse_qsl(head.target.query, keep_blank_values=True, errors="surrogateescape"))
    for name in needed:
        if not values.get(name):
            raise RequestError(400, f"{head.path} needs ?{name}=")
    if unknown := values.keys() - {*needed, *optional}:
        raise RequestError(400, f"{min(unknown)[:40]!r} is not known at {head.path}")
    return optional | values
