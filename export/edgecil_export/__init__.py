"""From what a run has learned to a bundle that a device runs."""

from edgecil_export.exporter import ExportReport, export

__all__ = ["ExportReport", "export"]
