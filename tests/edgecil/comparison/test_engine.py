"""How many cells run at once, and with how much of the machine each."""

import pytest

from edgecil.comparison import engine as engine_module
from edgecil.comparison.engine import Engine
from edgecil.errors import UsageError


def engine(
    name: str = "processes",
    at_once: int = 1,
    cpus: int | None = None,
    gpus: float | None = None,
    ray_address: str | None = None,
) -> Engine:
    return Engine(name=name, at_once=at_once, cpus=cpus, gpus=gpus, ray_address=ray_address)


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("jobs", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_runs_share_the_cores(jobs: int, threads: int) -> None:
    assert engine(at_once=jobs).threads == threads


def test_what_is_said_of_threads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine(at_once=2, cpus=3).threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert engine(at_once=2, cpus=3).threads == 5


def test_more_runs_than_cores_are_warned_of() -> None:
    assert engine(at_once=8).warning == ""
    assert "8 cores" in engine(at_once=9).warning


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"at_once": 0}, "--jobs is 0"),
        ({"cpus": 0}, "--cpus-per-run is 0"),
        ({"name": "ray", "gpus": -1.0}, "--gpus-per-run is -1"),
        ({"name": "ray", "gpus": float("nan")}, "--gpus-per-run is nan"),
        ({"name": "ray", "gpus": float("inf")}, "--gpus-per-run is inf"),
        ({"name": "slurm"}, "processes, ray"),
        ({"ray_address": "head:6379"}, "--engine ray"),
        ({"gpus": 0.5}, "--engine ray"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        engine(**wrong)  # type: ignore[arg-type]
