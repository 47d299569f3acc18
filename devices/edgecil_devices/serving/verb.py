"""The verb `serve`, as both command lines run it."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from edgecil_devices.computation import AUTO, warning_of
from edgecil_devices.errors import UsageError
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

if TYPE_CHECKING:
    from edgecil_devices.classifier import Classifier
    from edgecil_devices.collecting import Collector
    from edgecil_devices.following import Following
    from edgecil_devices.serving.token import Token

_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class ServeRequest:
    """What one call of `serve` asks for.

    Raises:
        UsageError: the values cannot be.
    """

    bundle: Path = field(metadata=BUNDLE)
    host: str = option(
        "127.0.0.1", "Name or address to listen at; 0.0.0.0 is every network of this machine."
    )
    port: int = option(8000, "Port to listen at; 0 takes a free one.")
    allow_host: tuple[str, ...] = option(
        (),
        "A further name of this server, with :PORT if need be; behind a proxy, as the "
        "browser's address line shows it. May be given several times.",
        metavar="NAME",
    )
    """Names that it answers to besides addresses and the machine's own; see `Guard`."""
    threads: int | None = field(default=None, metadata=THREADS)
    compute: str = field(default=AUTO, metadata=COMPUTE)
    queue: int = option(16, "How many pictures may wait; further ones are answered 503.")
    """Those besides the one at work."""
    max_mb: float = option(16, "Megabytes (10^6) that a request may have.", metavar="MB")
    timeout: float = option(
        20,
        "Seconds that a client has for each step: request, picture, taking the answer.",
        metavar="S",
    )
    teach: bool = option(
        False,
        "The page teaches, too: new classes, corrections, labels for what was collected. From "
        "other machines with the token that is printed at the start.",
    )
    token_file: Path | None = option(
        None,
        "With --teach: file of the token, written if it is not there.",
        metavar="FILE",
        shown_default="a new token at each start; none where only this machine can reach the page",
    )
    unknown: float | None = field(default=None, metadata=UNKNOWN)
    collect: Path | None = field(default=None, metadata=COLLECT)
    collect_below: float = field(default=DEFAULT_BELOW, metadata=COLLECT_BELOW)
    collect_most: int = field(default=DEFAULT_MOST, metadata=COLLECT_MOST)

    def __post_init__(self) -> None:
        if not self.host:  # which would be every network
            raise UsageError("--host must be an address: 127.0.0.1, or 0.0.0.0 for every network")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port must be from 0 to 65535, not {self.port}")
        if self.allow_host:
            from edgecil_devices.serving.guard import name_and_port

            for host in self.allow_host:
                name_and_port(host)
        if self.queue < 0:
            raise UsageError(f"--queue must be 0 or more, not {self.queue}")
        if not 0 < self.max_mb <= 64:  # the largest file that is read as a picture anyway
            raise UsageError(f"--max-mb must be above 0 and at most 64, not {self.max_mb:g}")
        if not 0 < self.timeout <= 3600:
            raise UsageError(f"--timeout must be above 0 and at most 3600, not {self.timeout:g}")
        if self.token_file is not None and not self.teach:
            raise UsageError("--token-file is for --teach; give that, too")
        require_percent(self.unknown)
        require_collect(self.collect, self.collect_below, self.collect_most)

    def token(self) -> "Token | None":
        """What a person must know who teaches; None where only this machine can reach the page.

        Raises:
            UsageError: the token's file cannot be used.
            StoreWriteError: it cannot be written.
        """
        from edgecil_devices.serving.token import Token

        if self.token_file is not None:
            return Token.kept_in(self.token_file)
        # Whoever is allowed by name comes through a proxy, whose users are not on this machine.
        return None if _is_own(self.host) and not self.allow_host else Token.drawn()

    def collector(self) -> "Collector | None":
        """Keeps the pictures of unsure answers, if that was asked for."""
        from edgecil_devices.collecting import Collector

        if self.collect is None:
            return None
        return Collector(self.collect, self.collect_below, self.collect_most)


def serve(request: ServeRequest) -> int:
    """Answer requests until SIGINT or SIGTERM; what is under way then is finished.

    A second signal ends it at once.

    Returns:
        The exit code: 0, as a server ends in no other way.

    Raises:
        BundleError: the bundle cannot be used, or not be computed so.
        StoreError: the store cannot be used, or a file of ours not be written.
        UsageError: nothing may be taught here, or the bundle cannot tell what is unknown.
        EdgecilError: nothing can listen at this place.
    """
    from edgecil_devices.following import Following
    from edgecil_devices.teaching.overlay import Overlay

    if request.teach:
        Overlay(request.bundle).require_allowed()
    following = Following(request.bundle, request.threads, compute=request.compute)
    classifier = _telling(following)
    if told := warning_of(request.compute, classifier().note):
        print(told, file=sys.stderr, flush=True)
    if request.unknown is not None:
        print(_unknown_in_words(following, request.unknown), file=sys.stderr, flush=True)
    asyncio.run(_serve(request, classifier))
    return 0


def _unknown_in_words(following: "Following", percent: float) -> str:
    """What calling pictures unknown is worth here, one line.

    Raises:
        UsageError: a bundle has no thresholds. A store's release may have none: the next one may.
    """
    classifier = following.classifier()
    if following.release is not None and classifier.manifest.unknown is None:
        return (
            "warning: the release that is current now has no thresholds, so nothing is called "
            "unknown"
        )
    return classifier.unknown_in_words(percent)


def _telling(following: "Following") -> "Callable[[], Classifier]":
    """Gives the classifier to use, and says why it is an older release's, whenever that changes."""
    told: str | None = None

    def classifier() -> "Classifier":
        nonlocal told
        found, problem = following.classifier(), following.problem
        if problem != told:
            told = problem
            if problem is not None:
                print(f"warning: {problem}", file=sys.stderr, flush=True)
        return found

    return classifier


async def _serve(request: ServeRequest, classifier: "Callable[[], Classifier]") -> None:
    from edgecil_devices.collected import Collection
    from edgecil_devices.serving.application import Application
    from edgecil_devices.serving.classifying import Classifying
    from edgecil_devices.serving.guard import Guard
    from edgecil_devices.serving.metrics import Metrics
    from edgecil_devices.serving.server import Limits, Server
    from edgecil_devices.serving.teaching import TeachingAddresses
    from edgecil_devices.teaching.overlay import Overlay

    limits = Limits(int(request.max_mb * 1e6), timeout_s=request.timeout)
    guard, metrics = Guard(request.host, request.allow_host), Metrics()
    classifying = Classifying(classifier, request.queue, request.unknown, request.collector())
    token = request.token() if request.teach else None
    teaching = None
    if request.teach:
        collection = Collection(request.collect) if request.collect else None
        teaching = TeachingAddresses(classifying, metrics, token, collection)
    application = Application(
        request.bundle.name,
        classifying,
        guard,
        limits.max_body_bytes,
        metrics,
        Overlay(request.bundle),
        teaching,
    )
    try:
        await Server(application, limits).run(
            request.host, request.port, lambda port: _tell(request, port, token), _stop_on_signals()
        )
    finally:
        classifying.close()


def _is_own(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _stop_on_signals() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; a second one does what it would have done without us."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) != signal.SIG_IGN  # as in the background of a shell script
    ]

    def received() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, received)
    return stop


def _tell(request: ServeRequest, port: int, token: "Token | None") -> None:
    host = f"[{request.host}]" if ":" in request.host else request.host
    lines = [f"serving {request.bundle} at http://{host}:{port}/ (Ctrl-C ends it)"]
    everywhere = request.host in _EVERYWHERE
    if everywhere:
        lines.append("anybody in your networks can use it; its addresses: hostname -I")
        host = "localhost"
    if token is not None:
        page = socket.gethostname() if everywhere else host
        lines.append(f"to teach, open http://{page}:{port}/#token={quote(token.text, safe='')}")
    elif request.teach:
        lines.append(
            "whoever is on this machine may teach; behind a proxy start it with --allow-host NAME, "
            "which asks for a token"
        )
    lines.append(f"next: curl --data-binary @picture.jpg http://{host}:{port}/predict")
    print(*lines, sep="\n", file=sys.stderr, flush=True)
