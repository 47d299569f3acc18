"""Run class-incremental image classifiers on small computers: numpy, onnxruntime and Pillow only.

    from edgecil_devices import Classifier

    classifier = Classifier.load("cats.edgecil")
    print(classifier.predict("cat.jpg").label)

The names below are imported when they are first used, so that `import edgecil_devices` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecil_devices.bundle import Bundle, read_bundle
    from edgecil_devices.classifier import Candidate, Classifier, Prediction, Timing
    from edgecil_devices.errors import (
        BundleCorruptError,
        BundleError,
        BundleVersionError,
        EdgecilError,
        ImageError,
        UsageError,
    )
    from edgecil_devices.images import Preprocessing, read_image, read_pixels
    from edgecil_devices.manifest import Manifest

__all__ = [
    "Bundle",
    "BundleCorruptError",
    "BundleError",
    "BundleVersionError",
    "Candidate",
    "Classifier",
    "EdgecilError",
    "ImageError",
    "Manifest",
    "Prediction",
    "Preprocessing",
    "Timing",
    "UsageError",
    "read_bundle",
    "read_image",
    "read_pixels",
]

_MODULES = {
    "bundle": ("Bundle", "read_bundle"),
    "classifier": ("Candidate", "Classifier", "Prediction", "Timing"),
    "errors": (
        "BundleCorruptError",
        "BundleError",
        "BundleVersionError",
        "EdgecilError",
        "ImageError",
        "UsageError",
    ),
    "images": ("Preprocessing", "read_image", "read_pixels"),
    "manifest": ("Manifest",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
