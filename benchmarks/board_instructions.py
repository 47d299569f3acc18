"""How many instructions a picture takes on a Raspberry Pi 3, 4 and 5, by runtime and computation.

Claims, for ten blocks of ResNet32: on a Pi 5 the runtime takes at most 62 million in half
precision, and on a Pi 4 at most 80 million in single precision by Winograd's products.

    python benchmarks/board_instructions.py --out benchmarks/results [--only resnet32-10]

An emulator counts what the real aarch64 wheels execute, `board_instructions.sh`, on one thread and
one picture, after two that are not counted; exact to a thousandth, and the same on a busy machine.
It also says how much a cache as large as the board's last one (0.5, 1 and 2 MB) would have fetched.

- runtime: as `edgecil_devices` runs the bundle, by each of its computations. Winograd's is counted
  where it would take too much memory to be chosen, too.
- onnxruntime: the same bundle as one graph, head included, with default options.
- ncnn: the network converted by pnnx, from pixels in float, where the packages ncnn and pnnx are
  installed here. Not in int8: they bring no tool for that. (MNN's package wants a protobuf that is
  older than onnx's.)
- least: its multiplications, 4 an instruction in fp32, 8 in fp16 and 16 in int8 with dot products.

**A count is not a time.** A Cortex-A53 issues two instructions a cycle in order, an A72 three, an
A76 four out of order, and a load that misses the cache counts as one. What a board takes is for
`board_times.py` to say. Weights are random. What is there already is not counted again.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import board_instructions_guest
import board_times
import emulated
from edgecil.memory.state import State
from edgecil_devices import read_bundle
from edgecil_devices.computation import FP16, FP32, INT8, WINOGRAD
from latency_contenders import merged_graph, operations
from latency_rivals import convert_for_ncnn
from measurements import Measurements

HERE = Path(__file__).parent
BOARDS = {"pi3": 512, "pi4": 1024, "pi5": 2048}
"""Boards, and the kB of their last cache."""
NCNN = ("ncnn", "pnnx")
"""ncnn, and what converts for it."""
LEAST = "least"
AT_ONCE = {FP32: 4, FP16: 8, INT8: 16}
"""Multiplications an instruction."""
MOST_OFF = {FP32: 1e-3, WINOGRAD: 1e-3, FP16: 3e-2, INT8: 0.5}
"""How far logits may be from torch's, as a part of the largest: more, and it is not the network."""
HALF_BOARD = "pi5"
"""The only one with instructions for half precision, and for dot products of bytes."""
LINE_BYTES = 64
"""Of a cache."""


class Case(NamedTuple):
    """What is counted."""

    network: str
    """One of `board_times.KINDS`."""
    way: str
    """runtime, onnxruntime, ncnn or least."""
    compute: str
    """One of `computation.COMPUTATIONS`."""
    board: str
    """One of `BOARDS`."""


def cases(network: str, boards: Sequence[str], *, with_ncnn: bool) -> Iterator[Case]:
    """Everything about a network, in the order of the table."""
    for board in boards:
        half = (FP16,) if board == HALF_BOARD else ()
        for compute in (FP32, *(half or (WINOGRAD,)), INT8):
            yield Case(network, "runtime", compute, board)
        yield Case(network, "onnxruntime", FP32, board)
        for compute in (FP32, *half) * with_ncnn:
            yield Case(network, "ncnn", compute, board)
        for compute in AT_ONCE if board == HALF_BOARD else (FP32,):
            yield Case(network, LEAST, compute, board)


@dataclass(frozen=True)
class Network:
    """A network, made to be run."""

    folder: Path
    """Where all forms of it are."""
    size_px: int
    """S."""
    multiplications: int
    """A picture."""
    logits: NDArray[np.float32]
    """(C,), torch's for the picture that is counted."""


def counted(case: Case, network: Network, packages: str) -> dict[str, Any]:
    """Millions of instructions, the megabytes fetched, and how far the logits are off.

    Args:
        case: what to run.
        network: on what.
        packages: what is installed for the board.
    """
    made = network.folder
    words: Sequence[str | Path] = {
        "runtime": (made / f"{INT8 if case.compute == INT8 else FP32}.edgecil", case.compute),
        "onnxruntime": (made / "one.onnx",),
        "ncnn": (made / "network", case.compute, str(network.size_px)),
    }[case.way]
    board = f"{case.board},cache={BOARDS[case.board]}"
    script: list[str | Path] = [
        "bash",
        HERE / "board_instructions.sh",
        board,
        HERE / "board_instructions_guest.py",
    ]
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*script, case.way, *words],
        env=emulated.environment(packages) | one_thread,
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(re.findall(r"(\w+)=(\d+)", done.stderr.rpartition("COUNT ")[2]))
    if done.returncode or not found:
        (*_, why) = ("it died", *done.stderr.strip().splitlines())
        return case._asdict() | {"millions": None, "why": why}
    off = np.abs(np.array(json.loads(done.stdout.splitlines()[-1])) - network.logits).max()
    off /= np.abs(network.logits).max()
    if off > MOST_OFF[case.compute]:
        return case._asdict() | {"millions": None, "why": f"logits are off by {off:.1e}"}
    return case._asdict() | {
        "millions": round(int(found["total"]) / 1e6, 2),
        "in_kernels": round(int(found["kernel"]) / 1e6, 2),
        "fetched_mb": round(int(found["missed"]) * LINE_BYTES / 1e6, 2),
        "off": float(f"{off:.1e}"),
    }


def make(folder: Path, network: str, *, with_ncnn: bool) -> Network:
    """Write all forms of a network into a folder."""
    board_times.write_network(folder, network)
    bundle = read_bundle(folder / "fp32.edgecil")
    (folder / "one.onnx").write_bytes(merged_graph(bundle))
    size_px = bundle.manifest.preprocessing.image_size_px
    learned = State.read(folder / "run" / "state").network().eval()
    count = operations(learned, size_px) // 2
    picture = torch.from_numpy(board_instructions_guest.floats(str(size_px)))
    with torch.inference_mode():
        logits = learned(picture)[0].numpy()
    if with_ncnn:
        convert_for_ncnn(learned, picture, folder)
    return Network(folder, size_px, count, logits)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line for each network, way and computation; millions, and megabytes fetched."""
    yield f"| network | by | computed in | {' | '.join(f'{board} | MB' for board in BOARDS)} |"
    yield "|---" * (3 + 2 * len(BOARDS)) + "|"
    on_boards = {tuple(row[name] for name in Case._fields): row for row in rows}
    for about in dict.fromkeys(key[:3] for key in on_boards):
        cells = [str(name) for name in about]
        for board in BOARDS:
            row = on_boards.get((*about, board), {})
            there = (row.get(name) for name in ("millions", "fetched_mb"))
            cells += ("-" if one is None else f"{one:.1f}" for one in there)
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Count what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--only", action="append", choices=board_times.KINDS)
    parser.add_argument("--board", action="append", choices=BOARDS)
    asked = parser.parse_args()
    networks, boards = asked.only or board_times.KINDS, asked.board or tuple(BOARDS)
    with_ncnn = all(map(find_spec, NCNN))
    packages = emulated.requirements(emulated.NEEDED + with_ncnn * NCNN[:1])
    measurements = Measurements(asked.out, "board_instructions")
    for name in networks:
        missing = [
            c for c in cases(name, boards, with_ncnn=with_ncnn) if not measurements.has(c._asdict())
        ]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            network = make(Path(folder, name), name, with_ncnn=with_ncnn)
            for case in missing:
                if case.way == LEAST:
                    least = network.multiplications / AT_ONCE[case.compute] / 1e6
                    measurements.add(case._asdict() | {"millions": round(least, 2)})
                else:
                    measurements.add(counted(case, network, packages))
    measurements.write_table(
        f"Instructions of one picture on one thread, in millions, counted; {packages}. "
        "MB: what a cache of the board's size fetches.",
        table,
    )


if __name__ == "__main__":
    main()
