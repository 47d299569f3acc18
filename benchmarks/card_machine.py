"""What the scripts for a graphics card say of the machine and of the code that they measured."""

import os
import subprocess
from pathlib import Path
from typing import Any

import torch

from edgecil.training.run import hardware, versions

HERE = Path(__file__).parent


def revision() -> str:
    """The commit that this code is of, with -dirty where files differ; unknown without git."""
    words = ("git", "describe", "--always", "--dirty", "--exclude", "*")
    try:
        done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def shared_by_mps() -> bool:
    """Whether processes share the card through NVIDIA's MPS, whose daemon has a pipe then."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    return Path(folder, "control").exists()


def machine_and_code(device: torch.device) -> dict[str, Any]:
    """All that bears on a measurement.

    Raises:
        PackageNotFoundError: edgecil is not installed.
    """
    about = {"mps": shared_by_mps(), "revision": revision()}
    return hardware(device) | versions() | about
