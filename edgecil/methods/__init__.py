"""Class-incremental methods: each file says only what differs from the one loop."""

from edgecil.errors import UsageError
from edgecil.methods.base import Method, TaskView
from edgecil.methods.der import DER
from edgecil.methods.finetune import Finetune
from edgecil.methods.foster import Foster
from edgecil.methods.icarl import ICaRL
from edgecil.methods.joint import Joint
from edgecil.methods.memo import Memo, Memo2
from edgecil.methods.replay import Replay
from edgecil.methods.thrift import Thrift
from edgecil.methods.wa import WA

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (Finetune, Replay, ICaRL, WA, DER, Foster, Memo, Memo2, Thrift, Joint)
}
"""Methods by the name that `--method` takes."""

__all__ = ["METHODS", "Method", "TaskView", "method_named"]


def method_named(name: str, *, trunk: str = "auto") -> Method:
    """The method called `name`.

    Raises:
        UsageError: there is none of that name, or it has no such trunk policy.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}; choose one of: {', '.join(METHODS)}")
    return METHODS[name]().with_trunk(trunk)
