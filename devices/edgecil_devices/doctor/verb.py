"""The verb `doctor`, as both command lines run it. One line a finding."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgecil_devices.doctor import cameras, machine, software
from edgecil_devices.doctor.bundle import bundle
from edgecil_devices.doctor.finding import Finding
from edgecil_devices.errors import UsageError
from edgecil_devices.options import JSON, option
from edgecil_devices.profiles import GENERIC, current_profile, profiles


@dataclass(frozen=True)
class DoctorRequest:
    """What one call of `doctor` asks for."""

    bundle: Path | None = option(None, "A bundle or a store to test too.", argument=True)
    json: bool = field(default=False, metadata=JSON)


def examine(path: Path | None = None) -> Iterator[Finding]:
    """Look at this device, and at a bundle or store if there is one; never raises of a fault."""
    yield machine.system()
    try:
        profile = current_profile()
        yield machine.board(profile)
    except UsageError as error:
        profile = profiles()[GENERIC]
        yield Finding("fail", "board", str(error))
    yield machine.processor()
    yield machine.threads(profile)
    yield machine.memory(profile)
    yield machine.space(path or Path(os.path.expanduser("~")))
    yield machine.clock()
    yield software.python()
    yield software.telemetry()
    onnxruntime = software.onnxruntime()
    yield onnxruntime
    yield cameras.camera()
    if path is not None and onnxruntime.state != "fail":
        yield from bundle(path, profile)


def doctor(request: DoctorRequest) -> int:
    """Print the findings; the exit code is 1 if one of them is a failure."""
    findings = []
    for finding in examine(request.bundle):
        findings.append(finding)
        if not request.json:
            print(f"{finding.state:4}  {finding.name:11}  {finding.says}", flush=True)
    if request.json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, allow_nan=False))
    return int(any(finding.state == "fail" for finding in findings))
