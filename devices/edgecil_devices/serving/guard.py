"""Which names this server answers to, and whose pages may post to it.

A page from anywhere can make the browser of somebody in this network send requests here. Two things
keep it out:

- It can have its own name point to our address (DNS rebinding), and then counts as ours for the
  browser. So a request must call us by a name that is ours: an IP address, which nobody can point
  elsewhere, `localhost`, this machine's name, or one that was allowed.
- It can post to us from its own name, without reading the answer. Browsers say in `Origin` where a
  post comes from, so posts from other pages are refused. Programs send no `Origin`.

A proxy may call us by an address of its own choice, and then `Host` says nothing about the page's
name. What the proxy adds about it (`X-Forwarded-Host`) anybody could have written, so it is not
read: the name under which the proxy shows us must be allowed.

Behind a proxy everybody seems to be on this machine. Whoever needs no token there must not come
through one, as far as it can be told: not every proxy says so.
"""

import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

from edgecil_devices.errors import RequestError, UsageError
from edgecil_devices.serving.messages import Head

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]*))?")
_ORIGIN = re.compile(rf"https?://({_HOST.pattern})")
_SAFE_METHODS = ("GET", "HEAD")
_USUAL_PORTS = ("80", "443")
_OF_PROXIES = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)


class Guard:
    """Lets requests through, or not.

    Args:
        listening_at: the name or address that we listen at.
        allowed: further names that we answer to, besides addresses and this machine's own; pages
            there may post to us, whatever `Host` a proxy makes of their name. With `:PORT` that
            is pages at this port, without it at that of http or https.

    Raises:
        UsageError: what is allowed is no name.
    """

    def __init__(self, listening_at: str, allowed: Iterable[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own.partition('.')[0]}.local", _plain(listening_at)}
        self._pages = set()
        for host in allowed:
            name, port = name_and_port(host)
            self._names.add(name)
            self._pages.add((name, port))

    def check(self, head: Head) -> None:
        """Refuse what comes from elsewhere.

        Raises:
            RequestError: the request calls us by a foreign name, or comes from a foreign page.
        """
        if head.host is not None:  # in HTTP/1.0, which no browser speaks, there may be none
            self._check_host(head.host)
        origin = head.fields.get("origin")
        if head.method not in _SAFE_METHODS and origin:
            self._check_origin(origin, head.host)

    def _check_host(self, host: str) -> None:
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

    def _check_origin(self, origin: str, host: str | None) -> None:
        place = _place(origin)
        if place and ((host and place == host.lower()) or name_and_port(place) in self._pages):
            return
        remedy = "post without Origin"
        if place:
            remedy += (
                f", or, if a proxy shows this server there, start it with --allow-host {place}"
            )
        raise RequestError(403, f"pages of other servers may not post here; {remedy}")


def require_no_proxy(head: Head) -> None:
    """Refuse a request that did not come from this machine itself.

    Browsers and curl speak HTTP/1.1; many an nginx speaks HTTP/1.0 to us, and adds no field.

    Raises:
        RequestError: a proxy has sent it on.
    """
    if head.is_http_1_0 or any(name in head.fields for name in _OF_PROXIES):
        raise RequestError(
            403,
            "this came through a proxy, behind which anybody could teach; start edgecil serve with "
            "--allow-host and the name in the browser's address line, or with --token-file",
        )


def name_and_port(host: str) -> tuple[str, str]:
    """`Cam.example:8443` as ("cam.example", "8443").

    No port is "", and so are those of http and https, which browsers leave out.

    Raises:
        UsageError: it is neither a name nor an address, with or without a port.
    """
    matched = _HOST.fullmatch(host)
    if matched is None:
        raise UsageError(
            f"--allow-host {host} is no name; give it without http:// and path: cam.example, or "
            "cam.example:8443 for a port that is not that of http or https"
        )
    port = matched[3] or ""
    return _plain(matched[1] or matched[2]), "" if port in _USUAL_PORTS else port


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def _place(origin: str) -> str | None:
    """Name and port of the pages of an origin; None for an origin without a name, as "null"."""
    matched = _ORIGIN.fullmatch(origin.lower())
    return matched[1] if matched else None
