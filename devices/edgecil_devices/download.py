"""Pictures from the network: one GET, bounded in size and in time."""

from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError

from edgecil_devices._http import SCHEMES, RedirectionError, get, promised_bytes, shown, told
from edgecil_devices.errors import ImageError
from edgecil_devices.images import MAX_FILE_BYTES

__all__ = ["SCHEMES", "TIME_LIMIT_S", "download", "shown"]

TIME_LIMIT_S = 15.0
"""A picture that has not arrived by then, redirections included, is given up."""

_CHUNK_BYTES = 2**16
_CHECK = "; check the address and the network"


def download(url: str, time_limit_s: float = TIME_LIMIT_S) -> bytes:
    """The bytes behind an http or https address.

    Args:
        url: begins with one of `SCHEMES`.
        time_limit_s: seconds for everything but looking up the server's name.

    Raises:
        ImageError: there is no such server or picture, or it is too large or too slow. The message
            does not name the address.
    """
    try:
        with get(url, time_limit_s) as answer:
            return _read(answer)
    except HTTPError as error:
        error.close()
        said = told(f"{error.code} {error.reason}")
        raise ImageError(f"the server answers {said}; check the address") from None
    except TimeoutError:
        raise _too_slow(time_limit_s) from None
    except RedirectionError as error:
        raise ImageError(f"the server cannot be used: {error.reason}") from None
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _too_slow(time_limit_s) from None
        raise ImageError(f"the server cannot be reached ({told(error.reason)}){_CHECK}") from None
    except (HTTPException, OSError, ValueError) as error:
        raise ImageError(f"the picture does not arrive ({told(error)}){_CHECK}") from None


def _read(answer: Any) -> bytes:
    promised = promised_bytes(answer)
    data = bytearray()
    while (promised or 0) <= MAX_FILE_BYTES and len(data) <= MAX_FILE_BYTES:
        chunk = answer.read(_CHUNK_BYTES)
        data += chunk
        if not chunk:
            if promised is not None and len(data) < promised:
                raise ImageError(f"the connection broke after {len(data)} of {promised} bytes")
            return bytes(data)
    raise ImageError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB; offer it smaller")


def _too_slow(time_limit_s: float) -> ImageError:
    return ImageError(f"the picture took longer than {time_limit_s:g} s to arrive{_CHECK}")
