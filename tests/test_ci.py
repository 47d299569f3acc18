"""What CI runs is what `.ci/run` runs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for path in (ROOT / ".ci").iterdir() if path.suffix != ".py")
NAMED = re.compile(r"\.ci/\w+")


def test_the_workflow_and_the_script_for_one_machine_run_the_same_scripts() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    steps = re.findall(r"- run: (\S+)", workflow)
    on_github = {step for step in steps if NAMED.fullmatch(step)}
    (_, checks) = (ROOT / ".ci" / "run").read_text("utf-8").split("\ntimed() {")
    assert on_github == set(NAMED.findall(checks))
    assert len(on_github) == 5


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_can_be_read_by_bash(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK) == script.read_text("utf-8").startswith("#!")


def test_what_tests_are_slow_is_said_to_pytest_and_run_by_ci() -> None:
    tests = (ROOT / ".ci" / "tests").read_text("utf-8")
    assert "\npytest -n 2 || failed=1\n" in tests  # as the README has it
    (beside,) = re.findall(r"pytest -m slow (\S+)", tests)
    (left_out,) = re.findall(r"pytest .* -m slow --ignore (\S+)", tests)
    assert beside == left_out
    assert "-m 'not slow'" in (ROOT / "pyproject.toml").read_text("utf-8")
    assert "&& pytest -n 2 " in (ROOT / "README.md").read_text("utf-8")
