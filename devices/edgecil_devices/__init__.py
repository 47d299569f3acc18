"""Run class-incremental image classifiers on small computers: numpy, onnxruntime and Pillow only.

    from edgecil_devices import Classifier

    classifier = Classifier.load("cats.edgecil")
    print(classifier.predict("cat.jpg").label)

The names below are imported when they are first used, so that `import edgecil_devices` is quick.

    classifier.py               pictures in, labels out; `following` changes to newer releases
    images.py                   how a picture becomes pixels; training's evaluation uses it too
    bundle.py, manifest.py      the file, see export/FORMAT.md; `package` and `blobs` read its parts
    runtime.py                  a bundle's graphs put together, head in numpy
    arrangement.py              how trunk and blocks share the threads; `choosing` measures which
                                arrangement and computation is fastest, `arrangement_choice` keeps
                                it, `computation` knows which there are
    graphs.py                   ONNX files without the onnx package: several joined into one;
                                `graph_check` and `graph_shapes` refuse what no bundle may hold;
                                `half` and `winograd` make others that compute the same, by
                                `graph_editing`
    _onnxruntime.py             the one door to onnxruntime; `floors` says which is the oldest
    profiles/                   what suits which board; `board` reads its temperature and throttling
    predict.py                  the verb: `sources`, `watch`, `download` and `camera` give pictures,
                                `parallel_reading` decodes several, `stream` decides,
                                `prediction_lines` prints
    serving/                    the verb `serve`
    bench.py, doctor/           the verbs that look at this device and a bundle on it: `selftest`
                                computes the samples of `golden`, `children` runs what may crash,
                                `limits` knows the cores and the memory that are left
    teaching/                   what a person taught the device, kept beside the release and put
                                into every answer; `closed_form` is a head without training
    collecting.py               pictures of unsure answers, kept to be labelled
    store/, signing.py          releases: installed, updated, rolled back, checked
    options.py                  a verb's options, described once as the fields of its request
    __main__.py                 all verbs with argparse alone
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecil_devices.bundle import Bundle, read_bundle
    from edgecil_devices.classifier import Classifier
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
    from edgecil_devices.prediction import Candidate, Prediction, Timing

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
    "classifier": ("Classifier",),
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
    "prediction": ("Candidate", "Prediction", "Timing"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
