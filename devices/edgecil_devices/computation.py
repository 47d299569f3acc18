"""In which numbers a bundle's convolutions may be computed on this processor.

A bundle in eight bits is computed in eight bits. One in single precision may be computed in half
precision, too, where the processor has vector instructions for it or somebody asks for it; and by
Winograd's products on ARM processors without dot products of bytes, which have no better way.
"""

from pathlib import Path

from edgecil_devices.errors import BundleError, UsageError

AUTO, FP32, FP16, INT8 = "auto", "fp32", "fp16", "int8"
WINOGRAD = "fp32 by Winograd"
ASKED = (AUTO, FP32, FP16, INT8)
"""What a person may ask for."""

COMPUTATIONS = (FP32, FP16, INT8, WINOGRAD)
"""What may be chosen."""

_HALF_PRECISION, _DOT_PRODUCTS = "asimdhp", "asimddp"
"""What Linux calls the instructions; of the boards, a Raspberry Pi 5 has both."""


def warning_of(asked: str | None, note: str) -> str:
    """What a person is told who asked for a computation and does not get it; "" where all is well.

    Unasked, it is for `doctor` and `bench` to tell.

    Args:
        asked: one of `ASKED`, or None.
        note: why another computation is not used, of `Classifier.note`.
    """
    return f"warning: {note}" if note and asked == FP16 else ""


def admitted(asked: str | None, of_bundle: str, cpuinfo: str, machine: str) -> tuple[str, ...]:
    """The computations to choose from, two at most; the first needs no proof.

    Args:
        asked: one of `ASKED`, or None for the bundle's own.
        of_bundle: what its manifest says, "fp32" or "int8".
        cpuinfo: the content of /proc/cpuinfo, with a line of features for each core.
        machine: as `platform.machine` has it.

    Raises:
        UsageError: there is no such computation.
        BundleError: the bundle cannot be computed so.
    """
    if not can_compute(asked, of_bundle):
        remedy = FP32 if asked == FP16 else asked
        raise BundleError(
            f"the bundle computes in {of_bundle}, not in {asked}; export it with --compute {remedy}"
        )
    if asked == AUTO and of_bundle == FP32:
        return (FP32, *_besides_single(cpuinfo, machine))
    return (of_bundle, FP16) if asked == FP16 else (of_bundle,)


def can_compute(asked: str | None, of_bundle: str) -> bool:
    """Whether a bundle can be computed as asked; the arguments are those of `admitted`.

    Raises:
        UsageError: there is no such computation.
    """
    if asked is not None and asked not in ASKED:
        raise UsageError(f"--compute is one of {', '.join(ASKED)}, not {asked!r}")
    return asked in (None, AUTO, of_bundle) or (asked == FP16 and of_bundle == FP32)


def _besides_single(cpuinfo: str, machine: str) -> tuple[str, ...]:
    # x86-64 calls them flags, and none of them is of these.
    cores = [line.split() for line in cpuinfo.splitlines() if line.startswith("Features")]
    if not cores or machine != "aarch64":
        return ()
    if all(_HALF_PRECISION in core for core in cores):
        return (FP16,)
    return () if all(_DOT_PRODUCTS in core for core in cores) else (WINOGRAD,)


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> str:
    """What Linux says of the processor; empty elsewhere."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
