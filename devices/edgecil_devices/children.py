"""Python in a process of its own, for what may crash it or run out of memory."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit code; below zero, a signal's."""
    printed: str
    """Its standard output."""
    complaint: str
    """The last line of its standard error; empty if it wrote none."""

    @property
    def killed_by(self) -> str | None:
        """The signal that ended it, "SIGSEGV"; None if it ended by itself."""
        return signal.Signals(-self.code).name if self.code < 0 else None


def run_python(arguments: Sequence[str], timeout_s: float) -> Ended:
    """Run Python, which finds this package wherever it lies, with onnxruntime's telemetry off.

    Args:
        arguments: as on its command line.
        timeout_s: how long it may take, in seconds.

    Raises:
        OSError: no process can be started.
        subprocess.TimeoutExpired: it took longer, and was ended.
    """
    package_folder = str(Path(__file__).parents[1])
    search = os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-P", *arguments],  # -P: nothing is imported from where we are
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        env={"ORT_DISABLE_TELEMETRY": "1", **os.environ, "PYTHONPATH": search},
        check=False,
    )
    complaints = done.stderr.decode(errors="replace").strip().splitlines()
    printed = done.stdout.decode(errors="replace")
    return Ended(done.returncode, printed, complaints[-1] if complaints else "")
