"""One pool of threads for all pictures: in order, within itself, and after a fork."""

import os
import subprocess
import sys
import threading
import time

import pytest

from edgecil import workers
from edgecil.workers import on_all_cores, portions


@pytest.fixture(autouse=True)
def pool_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 4)
    monkeypatch.setattr(workers, "_pool", None)


def test_results_come_in_the_order_of_the_items_and_from_several_threads() -> None:
    together = threading.Barrier(4)

    def waits(item: int) -> int:
        together.wait(timeout=60)
        time.sleep((4 - item) / 100)
        return item * item

    assert on_all_cores(waits, range(4)) == [0, 1, 4, 9]


def test_all_callers_share_the_threads() -> None:
    names = {
        name
        for _ in range(5)
        for name in on_all_cores(lambda _: threading.current_thread().name, range(50))
    }
    assert len(names) <= 4


def test_a_function_may_use_the_threads_itself() -> None:
    def rows(row: int) -> list[int]:
        return on_all_cores(lambda column: 10 * row + column, range(3))

    assert on_all_cores(rows, range(8)) == [[10 * r, 10 * r + 1, 10 * r + 2] for r in range(8)]


def test_what_one_item_raises_is_raised() -> None:
    def fails(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        on_all_cores(fails, range(8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = (
        "import os; from edgecil.workers import on_all_cores\n"
        "on_all_cores(str, range(8))\n"
        "if os.fork():\n    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "os._exit(on_all_cores(str, range(3)) != ['0', '1', '2'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_portions_are_all_numbers_once() -> None:
    assert [some.tolist() for some in portions(5, 2)] == [[0, 1], [2, 3], [4]]
    assert portions(0) == []
