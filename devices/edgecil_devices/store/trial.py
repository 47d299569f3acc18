"""The self-test of a release in a process of its own, which may run out of memory or crash.

python -m edgecil_devices.store.trial STORE NUMBER MANIFEST
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

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
    package_folder = str(Path(__file__).parents[2])
    search = os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH"))))
    command = (sys.executable, "-P", "-m", __name__)
    try:
        done = subprocess.run(
            [*command, str(store), str(release.number), release.manifest],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT_S,
            env={**os.environ, "PYTHONPATH": search},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its self-test took longer than {TIME_LIMIT_S:g} s"
    if done.returncode == _PASSED:
        return None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"its self-test was ended by {name}; is there enough memory?"
    told = done.stderr.decode(errors="replace").strip().splitlines()
    return told[-1] if told else f"its self-test ended with {done.returncode}"


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
