"""A state comes back byte for byte, or is refused; a crash leaves the old one or the new one."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecil.budget import Ledger
from edgecil.errors import BudgetError, StateCorruptError, StateError, StateVersionError
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import FORMAT, State, StateSettings, recover
from edgecil.networks import ExpandableNetwork
from edgecil_devices.images import Preprocessing


def make_settings(
    task_sizes: tuple[int, ...] = (2, 1), precision: str = "fp16", codec: str = "webp-lossless"
) -> StateSettings:
    return StateSettings(
        method="memo",
        backbone="convnet2",
        cut="last",
        precision=precision,
        codec=codec,
        preprocessing=Preprocessing(16),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        block_count=len(task_sizes),
        classes=tuple(f"class {c} é" for c in range(sum(task_sizes))),
        task_sizes=task_sizes,
    )


def make_network(settings: StateSettings) -> ExpandableNetwork:
    torch.manual_seed(len(settings.classes))
    return settings.empty_network()


def make_exemplars(settings: StateSettings, per_class: int = 3, seed: int = 0) -> ExemplarSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (per_class, 16, 16, 3), np.uint8)
    codec = codec_named(settings.codec)
    payloads = [codec.encode_many(pixels)] * len(settings.classes)
    return ExemplarSet.empty(codec, 16).with_new_classes(payloads)


def make_state(settings: StateSettings) -> State:
    return State.of(settings, make_network(settings), make_exemplars(settings))


def made_with_whole_pictures() -> State:
    settings = replace(make_settings((2, 1), codec="raw"), preprocessing=Preprocessing(72))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 72, 72, 3), np.uint8)
    payloads = [codec_named("raw").encode_many(pixels)] * 3
    empty = ExemplarSet.empty(codec_named("raw"), 72)
    exemplars = empty.with_new_classes(payloads, [[1.5, 0.5]] * 3)
    return State.of(settings, make_network(settings), exemplars)


def test_states_with_aspects_are_too_new_for_older_readers_and_others_are_not(
    tmp_path: Path,
) -> None:
    for state, version in ((make_state(make_settings()), 1), (made_with_whole_pictures(), 2)):
        ledger = state.write(tmp_path / "state", None)
        assert json.loads((tmp_path / "state" / "state.json").read_text())["format"] == version
        assert ledger.total_bytes == size_on_disk(tmp_path / "state")
        assert State.read(tmp_path / "state") == state


def test_a_state_of_large_squares_from_before_there_were_aspects_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = made_with_whole_pictures()
    with monkeypatch.context() as patch:
        patch.setattr("edgecil.memory.exemplar_sizes.LARGEST_PADDED_CROP_PX", 1 << 20)
        state.write(tmp_path / "state", None)
    assert json.loads((tmp_path / "state" / "state.json").read_text())["format"] == 1
    read = State.read(tmp_path / "state")
    assert read.exemplars.payloads == state.exemplars.payloads
    assert read.exemplars.aspects == ((1.0, 1.0),) * 3
    read.write(tmp_path / "again", None)
    assert State.read(tmp_path / "again") == read


def size_on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_state_comes_back_as_it_was_written(tmp_path: Path, precision: str) -> None:
    state = make_state(make_settings(precision=precision))
    state.write(tmp_path / "state", None)
    back = State.read(tmp_path / "state")
    assert back.settings == state.settings
    assert back.files() == state.files()
    np.testing.assert_array_equal(back.exemplars.pixels(), state.exemplars.pixels())


def test_the_network_in_fp32_comes_back_exactly(tmp_path: Path) -> None:
    settings = make_settings(precision="fp32")
    network = make_network(settings).eval()
    State.of(settings, network, make_exemplars(settings)).write(tmp_path / "state", None)
    pixels = torch.randint(0, 256, (2, 3, 16, 16))
    with torch.inference_mode():
        assert torch.equal(State.read(tmp_path / "state").network()(pixels), network(pixels))


def test_encoding_a_decoded_state_changes_no_byte() -> None:
    for precision in ("fp32", "fp16", "int8"):
        state = make_state(make_settings(precision=precision))
        assert State.of(state.settings, state.network(), state.exemplars).parts == state.parts


@given(
    tasks=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    precision=st.sampled_from(["fp32", "fp16", "int8"]),
    codec=st.sampled_from(["raw", "webp-lossless", "webp:60", "jpeg:80"]),
    spare=st.integers(-200, 20_000),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_the_ledger_is_the_files_and_the_budget_bounds_them(
    tmp_path_factory: pytest.TempPathFactory,
    tasks: list[int],
    precision: str,
    codec: str,
    spare: int,
    seed: int,
) -> None:
    asked = make_settings(tuple(tasks), precision, codec)
    everything = make_exemplars(asked, per_class=6, seed=seed)
    bare = State.of(asked, make_network(asked), ExemplarSet.empty(everything.codec, 16))
    budget_bytes = bare.size_without_exemplars_bytes + spare
    folder = tmp_path_factory.mktemp("run") / "state"
    try:
        exemplars = everything.filled(spare)
    except BudgetError:
        assert spare < len(ExemplarSet.empty(everything.codec, 16).to_bytes()) + 200
        return
    ledger = State.of(asked, make_network(asked), exemplars).write(folder, budget_bytes)
    assert ledger.total_bytes == size_on_disk(folder) <= budget_bytes
    assert sum(ledger.by_owner().values()) == ledger.total_bytes
    # Filled: not one class has a next exemplar that would still fit.
    for label, (count, available) in enumerate(
        zip(exemplars.counts, everything.counts, strict=True)
    ):
        if count < available:
            more = exemplars.counts.copy()
            more[label] += 1
            assert len(everything.truncate(more).to_bytes()) > spare


def test_one_byte_over_the_budget_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state = make_state(make_settings())
    size = Ledger.of_files((n, len(d)) for n, d in state.files().items()).total_bytes
    state.write(folder, size)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    bigger = make_state(make_settings((2, 1, 1)))
    with pytest.raises(BudgetError):
        bigger.write(folder, size)
    with pytest.raises(BudgetError, match="1 byte"):
        state.write(folder, size - 1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert os.listdir(tmp_path) == ["state"]


def test_every_flipped_byte_and_every_truncation_is_refused(tmp_path: Path) -> None:
    make_state(make_settings()).write(tmp_path / "state", None)
    draw = np.random.default_rng(0)
    for name in os.listdir(tmp_path / "state"):
        file = tmp_path / "state" / name
        whole = file.read_bytes()
        for place in draw.choice(len(whole), min(60, len(whole)), replace=False):
            changed = bytearray(whole)
            changed[place] ^= 1 << int(draw.integers(8))
            file.write_bytes(changed)
            with pytest.raises(StateError):
                State.read(tmp_path / "state")
        for length in (0, 1, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:length])
            with pytest.raises(StateCorruptError, match=str(name)):
                State.read(tmp_path / "state")
        file.write_bytes(whole)
    State.read(tmp_path / "state")


def test_missing_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with pytest.raises(StateError, match="no state"):
        State.read(folder)
    make_state(make_settings()).write(folder, None)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StateCorruptError, match=r"notes\.txt"):
        State.read(folder)
    (folder / "notes.txt").unlink()
    index = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(index | {"format": FORMAT + 1}))
    with pytest.raises(StateVersionError, match="upgrade"):
        State.read(folder)
    (folder / "head.safetensors").unlink()


class Crash(BaseException):
    """Nothing in the code under test handles it, as nothing handles a SIGKILL."""


class CrashingCalls:
    """Wraps functions so that the N-th call of any of them crashes instead."""

    def __init__(self, crash_at: int) -> None:
        self.left = crash_at

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: object, **kwargs: object) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Crash
            return function(*args, **kwargs)

        return wrapped


def crashes(write: Callable[[], object], crash_at: int) -> bool:
    """Run `write`, crashing before the N-th fsync, rename or removal of a folder."""
    calls = CrashingCalls(crash_at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", calls.wrap(os.fsync))
        patch.setattr(shutil, "rmtree", calls.wrap(shutil.rmtree))
        rename = calls.wrap(Path.rename)
        patch.setattr(Path, "rename", lambda source, target: rename(source, target))
        try:
            write()
        except Crash:
            return True
    return False


def test_a_crash_at_any_step_of_writing_leaves_a_whole_state(tmp_path: Path) -> None:
    old, new = make_state(make_settings((2,))), make_state(make_settings((2, 1)))
    stages = []
    for crash_at in itertools.count(1):
        run = tmp_path / str(crash_at)
        old.write(run / "state", None)
        crashed = crashes(partial(new.write, run / "state", None), crash_at)
        recover(run / "state")
        stages.append(State.read(run / "state").settings.stage)
        assert os.listdir(run) == ["state"]
        if not crashed:
            break
    # Five parts and the index are synced, the folder too, before the new state takes over.
    assert len(stages) > 8
    assert stages == sorted(stages)
    assert stages[0] == 1
    assert stages[-1] == 2
