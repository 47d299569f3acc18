"""The oldest onnxruntime, said once for code, messages and bundles; a test compares pyproject.toml.

Nothing is imported here, since the wrong build of onnxruntime ends the process that imports it.
"""

import re

OLDEST_ONNXRUNTIME = "1.24.4"
"""Older ones can be made to read foreign files through a model."""


def release_numbers(release: str) -> tuple[int, ...]:
    """The numbers of a release: "1.24.4" -> (1, 24, 4), "1.33.0.dev1" -> (1, 33, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])
