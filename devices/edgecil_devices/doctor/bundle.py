"""Findings about a bundle or a store, tested in a process of its own.

python -m edgecil_devices.doctor.bundle PATH    prints what the self-test found, as JSON
"""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecil_devices._json import json_object
from edgecil_devices.children import run_python
from edgecil_devices.counting import counted
from edgecil_devices.doctor.finding import Finding
from edgecil_devices.doctor.software import DEATHS, UPGRADE
from edgecil_devices.errors import EdgecilError
from edgecil_devices.profiles import Profile

if TYPE_CHECKING:
    from edgecil_devices.bundle import Bundle

_TIMEOUT_S = 300
_FREE_MEMORY = "stop other programs, or export a smaller network"


def bundle(path: Path, profile: Profile) -> Iterator[Finding]:
    """Whether this device says of the golden samples what the workstation said, and how it does.

    Args:
        path: a bundle, or the folder of a store.
        profile: what suits this board.
    """
    try:
        ended = run_python(["-m", __name__, str(path)], _TIMEOUT_S)
    except subprocess.TimeoutExpired:
        yield Finding("fail", "bundle", f"no answer in {_TIMEOUT_S} s; export a smaller network")
        return
    if ended.killed_by == "SIGKILL":  # by the kernel, as a rule, for want of memory
        yield Finding("fail", "bundle", f"its self-test was ended by SIGKILL; {_FREE_MEMORY}")
    elif ended.killed_by:
        death = DEATHS.get(ended.killed_by, ended.killed_by)
        yield Finding("fail", "bundle", f"its self-test ends the process ({death}); {UPGRADE}")
    elif ended.code != 0:
        yield Finding("fail", "bundle", ended.complaint)
    else:
        found = json_object(ended.printed.encode())
        yield _agreement(found)
        yield _precision(found["compute"], found["note"], profile)


def _agreement(found: dict[str, Any]) -> Finding:
    if found["warning"]:
        return Finding("warn", "bundle", found["warning"])
    if not found["samples"]:
        return Finding("warn", "bundle", "runs, but has no golden samples; export it again")
    samples = counted(found["samples"], "golden sample")
    told = f"same answers to {samples}, within {found['max_difference']:.1e}"
    return Finding("ok", "bundle", told)


def _precision(compute: str, note: str, profile: Profile) -> Finding:
    if compute == "int8" and profile.int8_compute_pays is False:
        says = (
            "this processor lacks dot products of bytes: only networks of depthwise convolutions, "
            "as EfficientNet-Lite0, gain much; export with --compute fp32, and compare"
        )
        return Finding("warn", "precision", f"computes in int8, but {says}")
    told = f"computes in {compute}" + (f"; {note}" if note else "")
    if compute != "int8" and profile.int8_compute_pays:
        says = "--compute int8 when exporting may halve the time; compare with edgecil bench"
        told = f"{told}; {says}"
    return Finding("ok", "precision", told)


def main(path: Path) -> int:
    """Test one bundle; what is wrong goes to standard error."""
    try:
        print(json.dumps(_tested(path), allow_nan=False))
    except EdgecilError as error:
        print(error, file=sys.stderr)
    except MemoryError:
        print(f"its self-test needs more memory than there is; {_FREE_MEMORY}", file=sys.stderr)
    except OSError as error:
        why = f"{error.filename or path}: {error.strerror or error}"
        print(f"{why}; check the path, and who may read it", file=sys.stderr)
    else:
        return 0
    return 1


def _tested(path: Path) -> dict[str, Any]:
    from edgecil_devices.bundle import read_bundle
    from edgecil_devices.selftest import self_test
    from edgecil_devices.store.reading import read_current

    path.stat()
    reading = read_current(path) if path.is_dir() else None
    loaded = reading.bundle if reading else read_bundle(path)
    tested = asdict(self_test(loaded))
    compute, note = _chosen(loaded, path)
    warning = reading.warning if reading else None
    return {**tested, "compute": compute, "note": note, "warning": warning}


def _chosen(loaded: "Bundle", path: Path) -> tuple[str, str]:
    """How the bundle is computed here unless asked otherwise, and why not otherwise."""
    from edgecil_devices.arrangement_choice import file_for
    from edgecil_devices.computation import AUTO, admitted, read_cpuinfo
    from edgecil_devices.runtime import Runtime

    own = loaded.manifest.compute
    if admitted(AUTO, own, read_cpuinfo(), platform.machine()) == (own,):
        return own, ""
    runtime = Runtime(loaded, kept=file_for(path), compute=AUTO)
    return runtime.compute, runtime.note


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
