"""From what a run has learned to a bundle that a device runs.

Names are imported when they are first used: keys can be made where torch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecil_export.exporter import ExportReport, export
    from edgecil_export.request import ExportRequest

__all__ = ["ExportReport", "ExportRequest", "export"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'edgecil_export' has no attribute {name!r}")
    return getattr(import_module("edgecil_export.exporter"), name)


def __dir__() -> list[str]:
    return __all__
