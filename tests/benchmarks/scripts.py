"""The scripts of benchmarks, as modules."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@contextmanager
def loaded(name: str) -> Iterator[Any]:
    """The script of that name, which finds the ones beside it, for as long as the context lasts."""
    spec = spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        patch.setitem(sys.modules, name, module)  # data classes look there
        spec.loader.exec_module(module)
        yield module
