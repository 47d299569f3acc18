"""The self-test of a release in a process of its own, which may run out of memory or crash.

python -m edgecil_devices.store.trial_process STORE NUMBER MANIFEST
"""

import subprocess
import sys
from pathlib import Path

from edgecil_devices.children import run_python
from edgecil_devices.errors import EdgecilError
from edgecil_devices.store.records import Release

TIME_LIMIT_S = 300.0
"""The slowest board needs a few seconds; a network that takes longer than this is of no use."""

_PASSED, _FAILED = 0, 1


def test_in_child(store: Path, release: Release) -> str | None:
    """Load a release as a reader would and compare its golden samples, in a new process.

    Returns:
        None if it passed, else what was wrong.

    Raises:
        OSError: no process can be started.
    """
    words = ["-m", __name__, str(store), str(release.number), release.manifest]
    try:
        ended = run_python(words, TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"its self-test took longer than {TIME_LIMIT_S:g} s"
    if ended.code == _PASSED:
        return None
    if ended.killed_by:
        return f"its self-test was ended by {ended.killed_by}; is there enough memory?"
    return ended.complaint or f"its self-test ended with {ended.code}"


def main(arguments: list[str]) -> int:
    """Test one release; what is wrong goes to standard error."""
    from edgecil_devices.selftest import self_test
    from edgecil_devices.store.reading import read_release

    store, number, manifest = arguments
    try:
        self_test(read_release(Path(store), Release(int(number), manifest)))
    except (EdgecilError, OSError, MemoryError) as error:
        print(str(error) or type(error).__name__, file=sys.stderr)
        return _FAILED
    return _PASSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
