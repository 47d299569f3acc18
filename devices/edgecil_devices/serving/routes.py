"""What answers a request, by path and method."""

from collections.abc import Awaitable, Callable, Mapping

from edgecil_devices.serving.messages import Answer, Head

ReadBody = Callable[[], Awaitable[bytes]]
"""Reads the body of a request, where one is wanted."""

Handler = Callable[[Head, ReadBody], Awaitable[Answer]]

Routes = Mapping[str, Mapping[str, Handler]]
"""By path, then by method; whoever answers GET answers HEAD, too."""
