"""The runtime by a computation that is named, Winograd's included, which nobody can ask for.

It is a choice that was kept from an earlier start, so the runtime proves it on the golden samples
and uses it, also where it would take too much memory to be chosen. Processors other than ARM's are
taken for a Raspberry Pi 4's, the kind for which Winograd's products are; the graphs are then those
of a board, and onnxruntime's kernels below them this processor's. Needs no torch.
"""

import platform
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from edgecil_devices import Bundle
from edgecil_devices.arrangement_choice import SIDE_BY_SIDE, Choice, keep_choice, key_of
from edgecil_devices.computation import AUTO, WINOGRAD
from edgecil_devices.runtime import Runtime

PI_4 = "Features\t: fp asimd evtstrm crc32 cpuid\n"
"""What Linux says of the board's processor, as far as it matters here."""


def runtime_in(bundle: Bundle, compute: str) -> Runtime:
    """A bundle on one thread, by this computation.

    Raises:
        SystemExit: it is not used, and why.
    """
    with ExitStack() as meanwhile:
        if compute != WINOGRAD:
            runtime = Runtime(bundle, 1, compute=compute)
        else:
            if platform.machine() != "aarch64":
                meanwhile.enter_context(patch("edgecil_devices.runtime.read_cpuinfo", lambda: PI_4))
                meanwhile.enter_context(patch.object(platform, "machine", lambda: "aarch64"))
            kept = Path(meanwhile.enter_context(tempfile.TemporaryDirectory()), "kept")
            key = key_of(bundle.manifest_json, 1, AUTO)
            keep_choice(kept, key, Choice(SIDE_BY_SIDE, 0.5, WINOGRAD))
            runtime = Runtime(bundle, 1, kept, AUTO)
    if runtime.compute != compute:
        raise SystemExit(runtime.note)
    return runtime
