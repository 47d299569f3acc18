"""One report that several tests look at."""

from pathlib import Path
from typing import Any

import pytest

from edgecil.report.report import write_report
from edgecil.training.settings import Source
from tests.edgecil.report.made_runs import write_run

BUDGETS = (8_000_000, 24_684_160)


@pytest.fixture(scope="session")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods at two budgets, one with two seeds, on a published protocol."""
    folder = tmp_path_factory.mktemp("report")
    common: dict[str, Any] = {
        "sizes": (5,) * 20,
        "loss": 2.0,
        "sources": (Source("cifar100", 0.2, "f00d"),),
    }
    for budget in BUDGETS:
        name = f"runs/memo<i>-{budget}"
        write_run(folder / name, budget_bytes=budget, confusion=budget == BUDGETS[0], **common)
    for seed in (1993, 1994):
        write_run(
            folder / f"runs/icarl-{seed}",
            method="icarl",
            seed=seed,
            nearest_mean=1.0,
            budget_bytes=43_224_320,
            start=90 + seed % 10,
            **common,
        )
    write_report([folder / "runs"], folder / "report.html", folder / "plots")
    return folder / "report.html"
