"""What `import edgecil` promises."""

import re
import subprocess
import sys
from importlib.metadata import requires

import pytest

import edgecil


def test_every_public_name_can_be_had() -> None:
    assert edgecil.__all__ == sorted(edgecil.__all__)
    assert dir(edgecil) == edgecil.__all__
    for name in edgecil.__all__:
        assert getattr(edgecil, name).__doc__


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = edgecil.trane


def test_importing_edgecil_or_its_classifier_imports_no_torch() -> None:
    code = "import sys, edgecil; edgecil.Classifier; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_device_installs_four_packages_and_no_torch() -> None:
    base = [line for line in requires("edgecil") or [] if "extra ==" not in line]
    names = {re.split(r"[<>=!~ ;]", line)[0] for line in base}
    assert names == {"numpy", "onnxruntime", "pillow", "typer"}
