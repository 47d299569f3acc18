"""In which numbers a bundle's convolutions may be computed on this processor.

A bundle in eight bits is computed in eight bits. One in single precision may be computed in half
precision, too, where the processor has vector instructions for it or somebody asks for it.
"""

from pathlib import Path

from edgecil_devices.errors import UsageError

AUTO, FP32, FP16, INT8 = "auto", "fp32", "fp16", "int8"
ASKED = (AUTO, FP32, FP16, INT8)
"""What a person may ask for."""

_HALF_PRECISION = "asimdhp"
"""What Linux calls the instructions; of the boards, a Raspberry Pi 5 has them."""


def admitted(asked: str | None, of_bundle: str, cpuinfo: str) -> tuple[str, ...]:
    """The computations to choose from; the first needs no proof.

    Args:
        asked: one of `ASKED`, or None for the bundle's own.
        of_bundle: what its manifest says, "fp32" or "int8".
        cpuinfo: the content of /proc/cpuinfo.

    Raises:
        UsageError: the bundle cannot be computed so.
    """
    if asked is not None and asked not in ASKED:
        raise UsageError(f"--compute is one of {', '.join(ASKED)}, not {asked!r}")
    own_alone = asked in (None, of_bundle) or (asked == AUTO and of_bundle != FP32)
    if own_alone or (asked == AUTO and not has_half_precision(cpuinfo)):
        return (of_bundle,)
    if asked in (AUTO, FP16) and of_bundle == FP32:
        return (FP32, FP16)
    remedy = FP32 if asked == FP16 else asked
    raise UsageError(
        f"the bundle computes in {of_bundle}, not in {asked}; export it with --compute {remedy}"
    )


def has_half_precision(cpuinfo: str) -> bool:
    """Whether every core computes in half precision.

    Args:
        cpuinfo: the content of /proc/cpuinfo, with a line of features for each core.
    """
    features = [line for line in cpuinfo.splitlines() if line.startswith("Features")]
    return bool(features) and all(_HALF_PRECISION in line.split() for line in features)


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> str:
    """What Linux says of the processor; empty elsewhere."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
