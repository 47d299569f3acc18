"""What `pip install edgecil` alone puts on a device, in megabytes.

Claim: without extras it brings no torch and nothing else of the training's, and on aarch64,
unpacked and compiled, it takes less than 200 MB.

    python benchmarks/base_install.py          # needs Python 3.11 and a package index

A wheel is built from this tree and installed into a fresh environment; for aarch64 the wheels of
the same packages for glibc 2.28 are downloaded and installed into a folder. Sizes are those of the
files that pip lists for each package, compiled modules included, as on a device. Packages that
numpy, onnxruntime and Pillow do not need serve the command `edgecil` alone;
`python -m edgecil_devices` works without. That every command works in this environment is the
matter of `tests/devices/test_base_install.py`. Results: `results/base_install.md` and `.json`.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from tempfile import TemporaryDirectory

TREE = Path(__file__).parents[1]
RUNTIME = ("edgecil", "numpy", "onnxruntime", "pillow")
"""What `python -m edgecil_devices` imports."""
TRAINING = frozenset({"torch", "torchvision", "onnx", "onnxscript", "safetensors", "matplotlib"})
AARCH64 = [
    word
    for glibc in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    for word in ("--platform", f"{glibc}_aarch64")
]
MOST_MB = 200


@dataclass(frozen=True)
class Package:
    """One installed package."""

    name: str
    version: str
    installed_mb: float
    for_runtime: bool
    """Or else for the command `edgecil` alone."""


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree, written into `folder`."""
    pip("wheel", "--no-deps", "--wheel-dir", folder, TREE)
    (wheel,) = folder.glob("edgecil-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install it with what it requires into a fresh environment; the path of its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip("--python", python, "install", wheel)
    return python


def site_of(python: Path) -> Path:
    """The folder of an environment's packages."""
    (site,) = python.parents[1].glob("lib/python3.*/site-packages")
    return site


def packages_in(site: Path) -> list[Package]:
    """What is installed there, the largest first."""
    found = {_plain(d.name): d for d in distributions(path=[str(site)])}
    runtime = _required(RUNTIME, found)
    packages = [
        Package(name, d.version, _installed_bytes(d) / 1e6, name in runtime)
        for name, d in found.items()
    ]
    return sorted(packages, key=lambda package: -package.installed_mb)


def _installed_bytes(distribution: Distribution) -> int:
    paths = [Path(str(file.locate())) for file in distribution.files or ()]
    return sum(path.stat().st_size for path in paths if path.exists())


def _required(names: Iterable[str], found: dict[str, Distribution]) -> set[str]:
    """The packages, and what they require in turn; edgecil's own requirements are in RUNTIME."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in found:
            continue
        seen.add(name)
        if name != "edgecil":
            required = found[name].requires or ()
            waiting += [_plain(re.split(r"[^\w.-]", r)[0]) for r in required if "extra ==" not in r]
    return seen


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pip(*arguments: str | Path) -> None:
    """Run pip.

    Raises:
        CalledProcessError: it failed; the reason is in `stderr`.
    """
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)


def measure(folder: Path) -> tuple[dict[str, list[Package]], float]:
    """Packages by processor, and megabytes of the wheels for aarch64."""
    wheel = build_wheel(folder)
    here = packages_in(site_of(install(wheel, folder / "here")))
    wheels, there = folder / "wheels", folder / "there"
    chosen = [*AARCH64, "--python-version", "3.11", "--only-binary=:all:"]
    pip("download", "--dest", wheels, *chosen, wheel)
    offline = ("--no-index", "--find-links", wheels)
    pip("install", "--target", there, *chosen, *offline, wheel)
    download_mb = sum(path.stat().st_size for path in wheels.iterdir()) / 1e6
    return {platform.machine(): here, "aarch64": packages_in(there)}, download_mb


def table(measured: dict[str, list[Package]]) -> list[str]:
    """The lines of the table, in Markdown."""
    (_, here), (_, there) = measured.items()
    sizes = {package.name: package.installed_mb for package in here}
    lines = [
        f"| package | needed by | {' | '.join(f'{machine}, MB' for machine in measured)} |",
        "|---|---|---|---|",
    ]
    for package in there:
        door = "all" if package.for_runtime else "`edgecil`"
        both = f"{sizes[package.name]:.1f} | {package.installed_mb:.1f}"
        lines.append(f"| {package.name} {package.version} | {door} | {both} |")
    runtime = [sum(p.installed_mb for p in found if p.for_runtime) for found in (here, there)]
    total = [sum(p.installed_mb for p in found) for found in (here, there)]
    lines.append(f"| for `python -m edgecil_devices` | | {runtime[0]:.1f} | {runtime[1]:.1f} |")
    lines.append(f"| **all** | | **{total[0]:.1f}** | **{total[1]:.1f}** |")
    return lines


def main() -> int:
    """Measure, print, write; the exit code is 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    out = parser.parse_args().out
    if sys.version_info[:2] != (3, 11):
        sys.exit("error: the sizes are those of Python 3.11's packages; run this with it")
    with TemporaryDirectory() as folder:
        measured, download_mb = measure(Path(folder))
    lines = table(measured)
    print(*lines, f"wheels for aarch64: {download_mb:.1f} MB", sep="\n")
    brought = {package.name for found in measured.values() for package in found}
    total_mb = sum(package.installed_mb for package in measured["aarch64"])
    heading = [
        "# A base install, in megabytes",
        "",
        f"`pip install edgecil` without extras, {platform.python_implementation()} "
        f"{platform.python_version()}; made by `benchmarks/base_install.py`, which says how.",
        "",
    ]
    ending = ["", f"Downloaded for aarch64: {download_mb:.1f} MB in {len(lines) - 4} wheels."]
    out.mkdir(parents=True, exist_ok=True)
    (out / "base_install.md").write_text("\n".join([*heading, *lines, *ending]) + "\n")
    content = {
        "python": platform.python_version(),
        "download_mb": {"aarch64": download_mb},
        "packages": {machine: [vars(p) for p in found] for machine, found in measured.items()},
    }
    (out / "base_install.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return int(bool(TRAINING & brought) or total_mb >= MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
