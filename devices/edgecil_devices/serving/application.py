"""What each address answers: the page, `/predict`, `/info`, `/health`, `/metrics`.

Those with which the page teaches are in `teaching`.
"""

import asyncio
import re
import sys
import time
import traceback
from dataclasses import asdict
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

from edgecil_devices.decoders import most_pixels
from edgecil_devices.errors import (
    BundleError,
    ImageError,
    RequestError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreWriteError,
    UsageError,
)
from edgecil_devices.serving.classifying import Classifying
from edgecil_devices.serving.guard import Guard
from edgecil_devices.serving.messages import Answer, Head
from edgecil_devices.serving.metrics import CONTENT_TYPE, Metrics
from edgecil_devices.serving.multipart import file_in_form, is_form
from edgecil_devices.serving.routes import Handler, ReadBody, Routes
from edgecil_devices.serving.teaching import TeachingAddresses
from edgecil_devices.teaching.overlay import Overlay
from edgecil_devices.version import version

_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/teach.js": ("teach.js", "text/javascript; charset=utf-8"),
}
_PAGE_HEADERS = {
    # The page loads nothing from elsewhere, nothing in it that came from elsewhere would run, and
    # no other page may show it within itself.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_HOW_TO_PREDICT = "curl --data-binary @cat.jpg http://HOST/predict"


class Application:
    """Answers requests.

    Args:
        name: of the bundle, for people.
        classifying: classifies pictures.
        guard: keeps foreign pages out.
        max_body_bytes: told to the page.
        metrics: counts.
        overlay: has what was taught, which every answer needs.
        teaching: further addresses; None where nobody may teach.
    """

    def __init__(
        self,
        name: str,
        classifying: Classifying,
        guard: Guard,
        max_body_bytes: int,
        metrics: Metrics,
        overlay: Overlay,
        teaching: TeachingAddresses | None = None,
    ) -> None:
        self.metrics = metrics
        self._name, self._classifying, self._guard = name, classifying, guard
        self._max_body_bytes, self._teaching = max_body_bytes, teaching
        self._overlay = overlay
        folder = files("edgecil_devices.serving").joinpath("page")
        page = {
            path: Answer(folder.joinpath(file).read_bytes(), kind, headers=_PAGE_HEADERS)
            for path, (file, kind) in _PAGE.items()
        }
        self._routes: Routes = {
            **{path: _always(answer) for path, answer in page.items()},
            "/predict": {"POST": self._predict},
            "/info": {"GET": self._info},
            "/health": {"GET": self._health},
            "/metrics": {"GET": self._metrics_text},
            **(teaching.routes if teaching else {}),
        }

    async def answer(self, head: Head, read_body: ReadBody) -> Answer:
        """Answer a request, whatever it is, and count it.

        Args:
            head: of the request.
            read_body: reads the body, where one is wanted.

        Raises:
            EOFError: the client has gone.
            ConnectionError: likewise.
        """
        try:
            self._guard.check(head)
            answer = await self._answer(head, read_body)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            answer = Answer.of_error(_as_request_error(error))
        path = head.path if head.path in self._routes else "other"
        self.metrics.answered(path, answer.code)
        return answer

    def refuse(self, error: Exception) -> Answer:
        """Answer what has not even become a request, and count it."""
        answer = Answer.of_error(_as_request_error(error))
        self.metrics.answered("other", answer.code)
        return answer

    async def _answer(self, head: Head, read_body: ReadBody) -> Answer:
        by_method = self._routes.get(head.path)
        if by_method is None:
            raise RequestError(404, f"there is nothing here; try {', '.join(self._routes)}")
        handler = by_method.get("GET" if head.method == "HEAD" else head.method)
        if handler is None:
            allowed = [*by_method, *(["HEAD"] if "GET" in by_method else [])]
            hint = f": {_HOW_TO_PREDICT}" if head.path == "/predict" else ""
            raise RequestError(
                405,
                f"{head.path} takes {' or '.join(allowed)}{hint}",
                {"Allow": ", ".join(allowed)},
            )
        if head.fields.get("content-encoding", "identity").lower() != "identity":
            raise RequestError(415, "the body is compressed; send the picture as it is")
        return await handler(head, read_body)

    async def _predict(self, head: Head, read_body: ReadBody) -> Answer:
        top = _top(head.target.query)
        body, content_type = await read_body(), head.fields.get("content-type", "")
        picture = file_in_form(body, content_type) if is_form(content_type) else body
        if not picture:
            raise RequestError(400, f"there is no picture in the request: {_HOW_TO_PREDICT}")
        start = time.perf_counter()
        found = await self._classifying.classify(picture, top)
        prediction, waited_ms = found.prediction, found.waited_ms
        stages_ms = {"wait": waited_ms, **asdict(prediction.timing_ms)}
        self.metrics.classified(time.perf_counter() - start, stages_ms)
        return Answer.of_json(
            {
                "label": prediction.label,
                "score": prediction.score,
                "top": [candidate.record() for candidate in prediction.top],
                "ms": {stage: round(ms, 3) for stage, ms in stages_ms.items()},
                "release": found.release,
            }
            | ({} if found.known is None else {"known": found.known})
        )

    async def _info(self, head: Head, read_body: ReadBody) -> Answer:
        manifest = self._classifying.current().manifest
        told: dict[str, Any] = {
            "name": self._name,
            "release": manifest.release,
            "classes": manifest.classes,
            "tasks": [manifest.classes[task.start : task.stop] for task in manifest.tasks],
            "preprocessing": manifest.preprocessing.to_dict(),
            "network": manifest.network,
            "accuracy": manifest.accuracy.overall if manifest.accuracy else None,
            "accuracy_classes": manifest.accuracy.classes if manifest.accuracy else None,
            "max_body_bytes": self._max_body_bytes,
            "max_pixels": most_pixels(),
            "teaching": self._teaching.info() if self._teaching else None,
            "edgecil": version(),
        }
        return Answer.of_json(told)

    async def _health(self, head: Head, read_body: ReadBody) -> Answer:
        # In no queue: a server with much to do is in good health.
        await asyncio.to_thread(self._require_sound)
        return Answer.of_json({"status": "ok"})

    def _require_sound(self) -> None:
        """Check what could keep every picture from an answer.

        Raises:
            StoreDamagedError: the list of what was taught is altered.
        """
        try:
            has_a_say = self._overlay.exists and self._overlay.allowed
        except (OSError, StoreDamagedError):  # the release answers without it
            return
        if has_a_say:
            self._overlay.records()

    async def _metrics_text(self, head: Head, read_body: ReadBody) -> Answer:
        waiting, limit = self._classifying.waiting, self._classifying.queue_limit
        gauges = {
            "queue_pictures": ("Pictures that wait their turn.", waiting),
            "queue_limit_pictures": ("How many may wait.", limit),
            "connections": ("Open connections.", self.metrics.connections),
        }
        return Answer(self.metrics.text(gauges).encode(), CONTENT_TYPE)


def _always(answer: Answer) -> dict[str, Handler]:
    """An address that has the same answer for everybody."""

    async def handler(head: Head, read_body: ReadBody) -> Answer:
        return answer

    return {"GET": handler}


def _top(query: str) -> int:
    """How many of the likeliest classes are asked for."""
    values = dict(parse_qsl(query, keep_blank_values=True))
    top = values.pop("top", "5")
    if values:
        raise RequestError(400, f"{next(iter(values))[:40]!r} is not known; there is only top=N")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", top):
        raise RequestError(400, "top must be a number from 1; 5 for example")
    return int(top)


def _as_request_error(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, TimeoutError):
        return RequestError(408, "the request did not come whole in time; send it faster")
    if isinstance(error, ImageError):
        return RequestError(422, str(error))
    if isinstance(error, UsageError):
        return RequestError(400, str(error))
    if isinstance(error, StoreBusyError):
        return RequestError(503, str(error), {"Retry-After": "1"})
    if isinstance(error, BundleError | StoreError):
        print(f"error: {error}", file=sys.stderr)
        return RequestError(507 if isinstance(error, StoreWriteError) else 500, str(error))
    traceback.print_exception(error)  # a mistake of ours: it must be seen, and the others go on
    return RequestError(500, "something is wrong here; the server's log says more")
