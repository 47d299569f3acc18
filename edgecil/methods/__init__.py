"""Class-incremental methods: each file says only what differs from the one loop.

Their names are known without torch; what needs it is imported when it is used. Installed packages
bring more, as entry points of the group `edgecil.methods`.
"""

from collections import UserDict
from collections.abc import MutableMapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from edgecil.errors import UsageError

if TYPE_CHECKING:
    from edgecil.methods.base import Method, TaskView

__all__ = ["METHODS", "Method", "TaskView", "method_named"]


class _Methods(UserDict[str, Any]):
    """Values are classes, or say where one is until it is looked up."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if not isinstance(found, str):
            return found
        module, _, class_name = found.partition(":")
        return getattr(import_module(module), class_name)


METHODS: MutableMapping[str, type["Method"]] = _Methods(
    {found.name: found.value for found in entry_points(group="edgecil.methods")}
    | {
        "finetune": "edgecil.methods.finetune:Finetune",
        "replay": "edgecil.methods.replay:Replay",
        "icarl": "edgecil.methods.icarl:ICaRL",
        "wa": "edgecil.methods.wa:WA",
        "der": "edgecil.methods.der:DER",
        "foster": "edgecil.methods.foster:Foster",
        "memo": "edgecil.methods.memo:Memo",
        "memo-2": "edgecil.methods.memo:Memo2",
        "thrift": "edgecil.methods.thrift:Thrift",
        "slda": "edgecil.methods.slda:SLDA",
        "joint": "edgecil.methods.joint:Joint",
    }
)
"""Methods by the name that `--method` takes."""


def method_named(name: str, *, trunk: str = "auto") -> "Method":
    """The method called `name`.

    Raises:
        UsageError: there is none of that name, or it has no such trunk policy.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}; choose one of: {', '.join(METHODS)}")
    return METHODS[name]().with_trunk(trunk)


def __getattr__(name: str) -> Any:
    if name not in ("Method", "TaskView"):
        raise AttributeError(f"module 'edgecil.methods' has no attribute {name!r}")
    return getattr(import_module("edgecil.methods.base"), name)
