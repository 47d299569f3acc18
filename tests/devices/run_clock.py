"""A clock for what is measured: other processes, which compute as well, do not turn it."""

from types import SimpleNamespace
from typing import Any

import pytest

from edgecil_devices import choosing
from edgecil_devices.arrangement import OneGraph, SideBySide

RUN_S = 0.005
"""How long every run of an arrangement is taken to last."""


class RunClock:
    """The clock by which arrangements are tried; it goes on with every run, and stands otherwise.

    Args:
        patch: until when `choosing` has it.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        for kind in (SideBySide, OneGraph):
            patch.setattr(kind, "run", self._turning(kind.run))
        patch.setattr(choosing, "time", SimpleNamespace(perf_counter=lambda: self.now_s))

    def _turning(self, run: Any) -> Any:
        def turning(arrangement: Any, pixels: Any) -> Any:
            self.now_s += RUN_S
            return run(arrangement, pixels)

        return turning
