"""The verb `serve`, as both command lines run it."""

import asyncio
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecil_devices.errors import UsageError
from edgecil_devices.options import BUNDLE, THREADS, option

if TYPE_CHECKING:
    from edgecil_devices.classifier import Classifier

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
    queue: int = option(16, "How many pictures may wait; further ones are answered 503.")
    """Those besides the one at work."""
    max_mb: float = option(16, "Megabytes (10^6) that a request may have.", metavar="MB")
    timeout: float = option(
        20,
        "Seconds that a client has for each step: request, picture, taking the answer.",
        metavar="S",
    )

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


def serve(request: ServeRequest) -> int:
    """Answer requests until SIGINT or SIGTERM; what is under way then is finished.

    A second signal ends it at once.

    Returns:
        The exit code: 0, as a server ends in no other way.

    Raises:
        BundleError: the bundle cannot be used.
        StoreError: the store cannot be used.
        EdgecilError: nothing can listen at this place.
    """
    from edgecil_devices.following import Following

    following = Following(request.bundle, request.threads)
    asyncio.run(_serve(request, following.classifier))
    return 0


async def _serve(request: ServeRequest, classifier: "Callable[[], Classifier]") -> None:
    from edgecil_devices.serving.application import Application
    from edgecil_devices.serving.classifying import Classifying
    from edgecil_devices.serving.guard import Guard
    from edgecil_devices.serving.server import Limits, Server

    limits = Limits(int(request.max_mb * 1e6), timeout_s=request.timeout)
    classifying = Classifying(classifier, request.queue)
    guard = Guard(request.host, request.allow_host)
    application = Application(request.bundle.name, classifying, guard, limits.max_body_bytes)
    try:
        await Server(application, limits).run(
            request.host, request.port, lambda port: _tell(request, port), _stop_on_signals()
        )
    finally:
        classifying.close()


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


def _tell(request: ServeRequest, port: int) -> None:
    host = f"[{request.host}]" if ":" in request.host else request.host
    lines = [f"serving {request.bundle} at http://{host}:{port}/ (Ctrl-C ends it)"]
    if request.host in _EVERYWHERE:
        lines.append("anybody in your networks can use it; its addresses: hostname -I")
        host = "localhost"
    lines.append(f"next: curl --data-binary @picture.jpg http://{host}:{port}/predict")
    print(*lines, sep="\n", file=sys.stderr, flush=True)
