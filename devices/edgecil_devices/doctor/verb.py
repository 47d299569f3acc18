"""The verb `doctor`, as both command lines run it. One line a finding."""

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from edgecil_devices.doctor import cameras, machine, software
from edgecil_devices.doctor.bundle import bundle
from edgecil_devices.doctor.finding import Finding
from edgecil_devices.errors import UsageError
from edgecil_devices.profiles import GENERIC, current_profile, profiles

HELP = {
    "bundle": "A bundle or a store to test too.",
    "json": "Print one JSON object.",
}
"""What both command lines say of the arguments."""


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


def tell(path: Path | None, *, as_json: bool) -> int:
    """Print the findings; the exit code is 1 if one of them is a failure."""
    findings = []
    for finding in examine(path):
        findings.append(finding)
        if not as_json:
            print(f"{finding.state:4}  {finding.name:11}  {finding.says}", flush=True)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, allow_nan=False))
    return int(any(finding.state == "fail" for finding in findings))


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `python -m edgecil_devices doctor`."""
    parser.add_argument("bundle", nargs="?", type=Path, help=HELP["bundle"])
    parser.add_argument("--json", action="store_true", help=HELP["json"])


def run(arguments: Namespace) -> int:
    """Run the verb; gives the exit code."""
    return tell(arguments.bundle, as_json=arguments.json)
