"""Pillow's warnings, off while pictures are read.

They are about odd EXIF entries and large pictures; `edgecil_devices.images` decides both itself.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_readers = 0
_saved: "warnings.catch_warnings[None] | None" = None


@contextmanager
def pillow_silenced() -> Iterator[None]:
    """Pillow's warnings are off while at least one thread is within.

    The filters are the whole process's, so the first thread sets them and the last one puts them
    back: one `catch_warnings` for each thread would restore them in the wrong order.
    """
    global _readers, _saved
    with _lock:
        if _readers == 0:
            _saved = warnings.catch_warnings()
            _saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0 and _saved is not None:
                _saved.__exit__(None, None, None)
                _saved = None
