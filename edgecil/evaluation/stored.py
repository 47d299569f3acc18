"""results.json as runs, reports and comparisons read it again; torch is not needed.

What was not measured is null. An older edgecil wrote NaN, which is read as null too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecil.errors import RunError


def read_results(path: Path) -> dict[str, Any]:
    """The object in the file.

    Raises:
        RunError: the file is not what was written.
        FileNotFoundError: there is none.
    """
    try:
        return dict(json.loads(path.read_bytes(), parse_constant=lambda _: None))
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged; restore it from a copy") from error


def accuracy_over_all(stage: Mapping[str, Any], key: str = "accuracy") -> float | None:
    """A stage's accuracy if all classes so far had test images, else None.

    What covers some of the classes compares with nothing, so tables and curves are without it.
    """
    measured = stage.get("measured_classes")
    if measured is None:  # of an older edgecil: tasks without an accuracy had no images
        whole = None not in stage["accuracy_by_task"]
    else:
        whole = measured == stage["classes"]
    accuracy: float | None = stage.get(key)
    return accuracy if whole else None
