"""The self-test of a release in a process of its own, which may run out of memory or crash.

python -m edgecil_devices.store.trial_process STORE NUMBER MANIFEST

Its exit code is the verdict. Whatever else ends it says nothing of the release: the system may have
killed it for its memory, and libraries that find none exit with 1.
"""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from edgecil_devices.children import Ended, run_python
from edgecil_devices.errors import EdgecilError, UntestedError
from edgecil_devices.store.records import Release
from edgecil_devices.version import version

TIME_LIMIT_S = 300.0
"""The slowest board needs a few seconds, unless it is busy otherwise."""

_PASSED, _FAILED = 0, 65  # EX_DATAERR of sysexits.h
_UNTESTED = 71  # EX_OSERR

_NO_MEMORY = re.compile("bad_alloc|allocate memory|pthread_create failed")
"""How onnxruntime says so, whose errors share no type."""


def test_in_child(store: Path, release: Release) -> str | None:
    """Load a release as a reader would and compare its golden samples, in a new process.

    Returns:
        None if it passed, else what was wrong.

    Raises:
        UntestedError: it could not be started, took too long, or ended without a verdict.
    """
    words = ["-m", __name__, str(store), str(release.number), release.manifest]
    try:
        ended = run_python(words, TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise UntestedError(f"its self-test took longer than {TIME_LIMIT_S:g} s") from None
    except (OSError, MemoryError) as error:
        why = str(error) or type(error).__name__
        raise UntestedError(f"its self-test cannot be started: {why}") from error
    if ended.code == _PASSED:
        return None
    if ended.code == _FAILED:
        return ended.complaint or f"its self-test ended with {ended.code}"
    raise UntestedError(_without_verdict(ended))


def software() -> str:
    """The versions that decide, besides the release, whether a self-test is passed.

    onnxruntime is not imported for that, so that its pages need no room beside those of the test.
    """
    try:
        onnxruntime = metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        onnxruntime = "unknown"  # a build of another name
    return f"edgecil {version()}, onnxruntime {onnxruntime}"


def _without_verdict(ended: Ended) -> str:
    if ended.killed_by:
        return f"its self-test was ended by {ended.killed_by}; is there enough memory?"
    said = f": {ended.complaint}" if ended.complaint else ""
    return f"its self-test ended with {ended.code}{said}"


def main(arguments: list[str]) -> int:
    """Test one release; what is wrong goes to standard error."""
    from edgecil_devices.selftest import self_test
    from edgecil_devices.store.reading import read_release

    store, number, manifest = arguments
    try:
        self_test(read_release(Path(store), Release(int(number), manifest)))
    except (EdgecilError, OSError, MemoryError) as error:
        short = _is_for_memory(error)
        print("there is not enough memory" if short else error, file=sys.stderr)
        return _FAILED if isinstance(error, EdgecilError) and not short else _UNTESTED
    return _PASSED


def _is_for_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is for want of memory."""
    while error is not None:
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            return True
        error = error.__cause__
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
