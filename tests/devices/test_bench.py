"""The verb `bench`, as real processes and piece by piece."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgecil_devices import bench, bench_measuring
from edgecil_devices.__main__ import main
from edgecil_devices.bench_measuring import Percentiles, Report, measure
from edgecil_devices.board import BoardState, Throttling

COMMANDS = {
    "edgecil": [sys.executable, "-c", "from edgecil.cli import main; main()"],
    "edgecil_devices": [sys.executable, "-m", "edgecil_devices"],
}
PARTS = ["load", "preprocess", "trunk", "blocks", "head", "total"]


@pytest.fixture
def report(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr(bench_measuring, "_WARM_UP_S", 0.0)
    found = measure(bundle_path, 1, 0.1, time.perf_counter())
    # The peak of this process is that of all the tests that ran in it before.
    return replace(found, memory_mb=100.0)


@pytest.mark.parametrize("command", COMMANDS)
def test_one_json_object_with_all_that_was_measured(bundle_path: Path, command: str) -> None:
    words = [*COMMANDS[command], "bench", str(bundle_path), "--json", "--threads", "1"]
    start_s = time.perf_counter()
    done = subprocess.run(
        [*words, "--seconds", "0.6"], capture_output=True, text=True, timeout=300, check=True
    )
    took_s = time.perf_counter() - start_s
    found = json.loads(done.stdout)
    assert found["setting"]["threads"] == 1
    assert found["setting"]["blocks"] == 2
    assert found["setting"]["classes"] == 3
    assert list(found["latency_ms"]) == PARTS
    for times in found["latency_ms"].values():
        assert 0 < times["p50"] <= times["p90"] <= times["p99"] < took_s * 1e3
    # The times are those of whole pictures one after the other, so they fill the time measured.
    total_ms = found["latency_ms"]["total"]
    assert found["pictures"] * total_ms["p99"] / 1e3 > 0.1
    assert found["pictures"] * total_ms["p50"] / 1e3 < took_s
    assert [row["batch"] for row in found["throughput"]] == [1, 4, 16]
    for row in found["throughput"]:
        assert row["pictures"] % row["batch"] == 0
        assert 0.05 < row["pictures"] / row["pictures_per_s"] < took_s
    assert 20 < found["memory_mb"] <= found["memory_in_batches_mb"] < 400
    assert 0 < found["load_s"] < took_s
    expected = f"next: edgecil serve {bundle_path}\n" if command == "edgecil" else ""
    assert done.stderr == expected


def test_a_table_for_people(bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle_path), "--seconds", "0.1"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for part in PARTS:
        row = re.search(rf"^  {part} +([\d.]+) +([\d.]+) +([\d.]+)$", printed.out, re.MULTILINE)
        assert row
        assert float(row[1]) <= float(row[2]) <= float(row[3])
    for batch in (1, 4, 16):
        row = re.search(rf"^  {batch} +([\d.]+) +([\d.]+) +(\d+)$", printed.out, re.MULTILINE)
        assert row
        assert float(row[1]) * float(row[2]) == pytest.approx(1000, rel=0.02)


def test_slow_pictures_show_where_the_time_goes(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_slowly(file: Path) -> bytes:
        time.sleep(0.004)
        return file.read_bytes()

    monkeypatch.setattr(bench_measuring, "read_file", read_slowly)
    latency = measure(bundle_path, 1, 0.01, time.perf_counter()).latency_ms
    assert latency["load"].p50 >= 4
    assert latency["preprocess"].p50 + 4 < latency["total"].p50
    assert latency["trunk"].p50 < 4


def test_percentiles_are_those_of_the_textbook() -> None:
    times_ms = [float(n) for n in range(100, -1, -1)]
    assert Percentiles.of(times_ms) == Percentiles(50, 90, 99)
    assert Percentiles.of([2.0]) == Percentiles(2, 2, 2)


def test_a_store_is_measured_as_a_bundle_is(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    assert main(["install", str(bundle_path), "--store", store]) == 0
    capsys.readouterr()
    assert main(["bench", store, "--seconds", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["setting"]["bundle"] == store


def test_throttling_is_told_with_what_to_do(report: Report) -> None:
    throttling = Throttling(("under-voltage",), ("under-voltage", "soft temperature limit"))
    hot = replace(report, after=BoardState(84.6, 1500, "ondemand", throttling), load_average=0.0)
    assert list(bench.notes(hot)) == [
        "under-voltage now; use the board's own power supply and a short cable",
        "soft temperature limit has happened; cool the board",
    ]
    told = "\n".join(bench._table(hot))
    assert (
        "throttling   now: under-voltage; has happened: under-voltage, soft temperature limit"
        in told
    )
    assert "governor ondemand" in told


@pytest.mark.parametrize(
    ("profile", "compute", "said"),
    [
        ("raspberry-pi-4", "int8", "lacks dot products of bytes"),
        ("raspberry-pi-4", "fp32", None),
        ("raspberry-pi-5", "int8", None),
        ("raspberry-pi-5", "fp32", "--compute int8 too"),
        ("generic", "int8", None),
    ],
)
def test_the_boards_profile_says_what_to_compare(
    report: Report, profile: str, compute: str, said: str | None
) -> None:
    setting = replace(report.setting, profile=profile, compute=compute)
    quiet = BoardState(None, None, None, None)
    found = list(bench.notes(replace(report, setting=setting, load_average=0.0, after=quiet)))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_a_busy_machine_and_too_much_memory_are_told(report: Report) -> None:
    setting = replace(report.setting, profile="raspberry-pi-zero-2", cores=4)
    crowded = replace(report, setting=setting, load_average=3.1, memory_mb=281.0)
    busy, large = bench.notes(crowded)
    assert busy.startswith("other programs were running (load 3.1 on 4 cores)")
    assert large.startswith("more memory than the 280 MB that suit this board")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "3601"])
def test_times_that_cannot_be_are_refused(
    bundle_path: Path, seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(bundle_path), "--seconds", seconds]) == 2
    assert capsys.readouterr().err.startswith("error: --seconds must be above 0 and at most 3600")


def test_a_bundle_that_cannot_be_used_ends_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "gone.edgecil"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: gone.edgecil: ")
    assert printed.out == ""


def test_it_tells_in_which_numbers_it_computed_and_why_not_in_half_precision(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_measuring, "_WARM_UP_S", 0.0)
    found = measure(bundle_path, 1, 0.1, time.perf_counter(), "fp16")
    assert found.setting.compute == "fp32"
    (said,) = (note for note in bench.notes(found) if "fp16" in note)
    assert said == "fp16 is not used: the bundle has no golden samples"
    assert "fp16" not in " ".join(bench.notes(measure(bundle_path, 1, 0.1, time.perf_counter())))
