"""The one door to onnxruntime: its telemetry switched off, sessions that rest when idle.

From version 1.29 on, onnxruntime reports its use to its maker unless ORT_DISABLE_TELEMETRY is set
before it is first imported, and keeps a database in the user's cache folder. So nothing else in
edgecil imports onnxruntime directly.
"""

import contextlib
import ctypes
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as onnxruntime  # named twice, for those who need it from here

from edgecil_devices.errors import BundleError, BundleVersionError
from edgecil_devices.floors import release_numbers

_ERRORS_ONLY = 3


def require_version(minimum: str) -> None:
    """Check that the installed onnxruntime is at least `minimum`, as in "1.30.0".

    Raises:
        BundleVersionError: it is older.
    """
    installed = onnxruntime.__version__
    if release_numbers(installed) < release_numbers(minimum):
        raise BundleVersionError(
            f"onnxruntime {installed} is too old for this bundle; "
            f"run: pip install 'onnxruntime>={minimum}'"
        )


def version() -> str:
    """The installed onnxruntime's version."""
    return str(onnxruntime.__version__)


class Graph:
    """A graph with one input, on the CPU, made to be one of many in a process.

    Every session has a pool of its own. Left to the defaults, each pool takes all cores and spins
    between runs, and twelve sessions get in each other's way: 44-88 ms instead of 4 (two cores).
    Here a pool spins while its session runs, since a second thread that has to be woken for each
    operator is no faster than none, and goes to sleep when the run is over.

    Args:
        model: an ONNX graph without external data; onnxruntime gets these very bytes.
        name: what to call it in an error.
        threads: threads within an operator, the calling one included.
        compute: "int8" computes in eight bits between QuantizeLinear and DequantizeLinear; any
            other takes DequantizeLinear for a way to store weights.

    Raises:
        BundleError: onnxruntime cannot load it.
    """

    def __init__(self, model: bytes, name: str, threads: int = 1, compute: str = "fp32") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Lets int8 weights be folded into float32 ones while loading; without it each run unpacks
        # them again and takes twice as long.
        only_weights = "0" if compute == "int8" else "1"
        options.add_session_config_entry("session.disable_quant_qdq", only_weights)
        self.name = name
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no type of their own
            raise self._error("cannot load it", error) from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise BundleError(f"{name} must have one input; export the bundle again")
        self._input = inputs[0].name
        self.output_shapes = [tuple(port.shape) for port in self._session.get_outputs()]
        _give_memory_back()

    def run(self, value: NDArray[Any]) -> list[NDArray[np.float32]]:
        """The graph's outputs for `value`.

        Raises:
            BundleError: onnxruntime cannot compute it.
        """
        try:
            found: list[NDArray[np.float32]] = self._session.run(None, {self._input: value})
        except Exception as error:
            raise self._error("cannot run it", error) from error
        return found

    def _error(self, what: str, error: Exception) -> BundleError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return BundleError(
            f"{self.name}: onnxruntime {version()} {what} ({reason[:200]}); export it again"
        )


def _give_memory_back() -> None:
    """Give what malloc keeps of freed memory back to the system, where malloc can do so (glibc).

    Loading a graph takes several copies of its weights for a moment. Without this they stay with
    the process: 120 MB instead of 100 for ten blocks of ResNet32, and 133 instead of 125 at the
    peak.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
