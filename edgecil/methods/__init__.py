"""Class-incremental methods: each file says only what differs from the one loop."""

from edgecil.errors import UsageError
from edgecil.methods.base import Method, TaskView
from edgecil.methods.memo import Memo

METHODS = {"memo": Memo}
"""Methods by the name that `--method` takes."""

__all__ = ["METHODS", "Method", "TaskView", "method_named"]


def method_named(name: str, *, trunk: str = "auto") -> Method:
    """The method called `name`.

    Raises:
        UsageError: there is none of that name, or `trunk` is no policy.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}; choose one of: {', '.join(METHODS)}")
    return METHODS[name](trunk=trunk)
