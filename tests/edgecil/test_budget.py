import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecil.budget import Ledger, format_bytes, owner_of, parse_bytes
from edgecil.errors import BudgetError, UsageError


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("7.6MB", 7_600_000),
        ("7.6MiB", 7_969_177),  # 7 969 177.6, rounded down
        ("500 kB", 500_000),
        ("8KiB", 8192),
        ("3.5GB", 3_500_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("7998016", 7_998_016),
        ("  1 MB ", 1_000_000),
        ("0.0015kB", 1),
        ("0.001999999999999999kB", 1),
        ("1.1MB", 1_100_000),  # in binary floating point this would fall one byte short
        ("1", 1),
    ],
)
def test_sizes_are_read_to_the_byte(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9999999999999999999",
        "0",
        "0MB",
        "-1",
        "-7.6MB",
        "7.6",
        "7.6mb",
        "7.6M",
        "7.6gb",
        "7.6Gb",
        "1TB",
        "7.6 Mb",
        "MB",
        "1e6",
        "1,5MB",
        "0.0001kB",
        "nan",
        "1 000",
        "\u0661MB",
    ],
)
def test_anything_else_is_refused_with_the_units_listed(text: str) -> None:
    with pytest.raises(UsageError, match="kB, MB, GB, KiB, MiB, GiB"):
        parse_bytes(text)


def test_sizes_are_written_in_full() -> None:
    assert format_bytes(7_600_000) == "7 600 000 bytes"
    assert format_bytes(999) == "999 bytes"
    assert format_bytes(1) == "1 byte"


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("trunk.safetensors", "trunk"),
        ("block-00.safetensors", "blocks"),
        ("block-123.safetensors", "blocks"),
        ("head.safetensors", "head"),
        ("exemplars.safetensors", "exemplars"),
        ("state.json", "names"),
        ("block-0.safetensors", "other"),
        (".trunk.safetensors.17", "other"),
        ("old/trunk.safetensors", "other"),
    ],
)
def test_every_file_has_an_owner(name: str, owner: str) -> None:
    assert owner_of(name) == owner


def test_a_ledger_counts_every_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "trunk.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "block-00.safetensors").write_bytes(b"x" * 20)
    (tmp_path / "block-01.safetensors").write_bytes(b"x" * 21)
    (tmp_path / "state.json").write_text(json.dumps({"classes": ["é"]}), encoding="utf-8")
    (tmp_path / ".forgotten").write_bytes(b"x" * 3)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"x" * 5)
    ledger = Ledger.of_folder(tmp_path)
    assert ledger.by_owner() == {
        "trunk": 100,
        "blocks": 41,
        "head": 0,
        "exemplars": 0,
        "names": 23,
        "other": 8,
    }
    walked = [Path(root, name) for root, _, names in os.walk(tmp_path) for name in names]
    assert ledger.total_bytes == sum(path.stat().st_size for path in walked) == 172


@given(st.dictionaries(st.text("ab.", min_size=1), st.integers(0, 2**40)), st.integers(0, 2**41))
def test_one_byte_over_is_an_error(sizes: dict[str, int], budget_bytes: int) -> None:
    ledger = Ledger.of_files(sizes.items())
    assert ledger.total_bytes == sum(ledger.by_owner().values()) == sum(sizes.values())
    if sum(sizes.values()) <= budget_bytes:
        ledger.require_within(budget_bytes)
    else:
        with pytest.raises(BudgetError):
            ledger.require_within(budget_bytes)


def test_the_error_says_how_much_too_much() -> None:
    ledger = Ledger.of_files([("trunk.safetensors", 1000), ("exemplars.safetensors", 501)])
    ledger.require_within(1501)
    with pytest.raises(BudgetError, match=r"1 501 bytes .* 1 byte over .* 1 500 bytes; raise"):
        ledger.require_within(1500)


def test_budgets_need_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import edgecil.budget"
    subprocess.run([sys.executable, "-c", code], check=True)
