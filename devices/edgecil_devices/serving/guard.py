"""Which names this server answers to, and whose pages may post to it.

A page from anywhere can make the browser of somebody in this network send requests here. Two things
keep it out:

- It can have its own name point to our address (DNS rebinding), and then counts as ours for the
  browser. So a request must call us by a name that is ours: an IP address, which nobody can point
  elsewhere, `localhost`, this machine's name, or one that was allowed.
- It can post to us from its own name, without reading the answer. Browsers say in `Origin` where a
  post comes from, so posts from other pages are refused. Programs send no `Origin`.
"""

import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from edgecil_devices.errors import RequestError
from edgecil_devices.serving.messages import Head

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]*)?")
_SAFE_METHODS = ("GET", "HEAD")


class Guard:
    """Lets requests through, or not.

    Args:
        names: that we answer to, besides addresses and this machine's own names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        own = socket.gethostname().lower()
        ours = {"localhost", own, f"{own.partition('.')[0]}.local"}
        self._names = ours | {_plain(name) for name in names}

    def check(self, head: Head) -> None:
        """Refuse what comes from elsewhere.

        Raises:
            RequestError: the request calls us by a foreign name, or comes from a foreign page.
        """
        host = head.host
        if host is None:  # HTTP/1.0, which no browser speaks
            return
        matched = _HOST.fullmatch(host)
        if matched is None:
            raise RequestError(400, "the Host field must be a name or an address, perhaps :port")
        name = matched[1] or matched[2]
        if not (_is_address(name) or _plain(name) in self._names):
            raise RequestError(
                421,
                f"this server does not answer to {name}; call it by its IP address, or start it "
                f"with --allow-host {name}",
            )
        origin = head.fields.get("origin")
        if head.method not in _SAFE_METHODS and origin and not _is_at(origin, host):
            raise RequestError(403, "pages of other servers may not post here; post without Origin")


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def _is_at(origin: str, host: str) -> bool:
    with suppress(ValueError):
        return urlsplit(origin).netloc.lower() == host.lower()
    return False
