"""How long a picture takes: eager torch, torch.compile, one merged ONNX graph, and the runtime.

Claims, for K = 10 blocks of ResNet32 at batch 1, side by side in one run: the runtime is at least
2.5 times as fast as eager torch on one thread, and 1.25 times as fast as a merged graph on two;
computing in int8 is at least twice as fast as in fp32, where the processor has dot products of
bytes; and every added block costs the same.

    python benchmarks/inference_latency.py                # some seven minutes on two idle cores
    python benchmarks/inference_latency.py --blocks 10    # what the claims are about
    python benchmarks/inference_latency.py --short        # shows that it runs, and nothing else

- eager torch: the `ExpandableNetwork` itself, fp32, in evaluation and inference mode; torch.compile
  the same, compiled for its one shape, at the number of blocks that the claims are about.
- merged: trunk, blocks and head as one ONNX graph, with onnxruntime's default options but for the
  number of threads; of a bundle in fp32, and of one in int8.
- runtime: these bundles, as `edgecil_devices` runs them.
- ncnn, OpenVINO, OpenCV: other runtimes, one picture at a time, where they are installed
  (`latency_rivals.py`).

All start from the same 32x32 pixels in uint8 and end in logits, which are compared. Weights are
random, BatchNorm statistics too. Each contender runs in bursts, taking turns with the others, so
that a change of the machine's pace meets all of them; pauses between let the threads of the last
one come to rest. Times are medians, a picture. The share of the peak is that of the runtime in
fp32: its multiplications and additions a second over those of onnxruntime's best product of two
matrices of 512 x 512 with as many threads, in the same run.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import latency_bursts
from edgecil_devices import read_bundle
from edgecil_export import ExportRequest, export
from latency_bursts import Bursts
from latency_contenders import (
    IMAGE_SIZE_PX,
    Contender,
    Pixels,
    compiled,
    in_one_graph,
    in_runtime,
    in_torch,
    noise_pictures,
    operations,
    peak_flops_of,
    random_state,
)
from latency_rivals import RIVALS, rivals

BLOCKS, THREADS, BATCHES, ROUNDS = (1, 2, 5, 10, 20), (1, 2), (1, 16), 12
CLAIMED_BLOCKS = 10
BURSTS = Bursts(seconds=0.08, least=3, warm_up=3)

EAGER, COMPILED = "eager torch", "torch.compile"
MERGED, RUNTIME, MERGED_INT8, RUNTIME_INT8 = "merged", "runtime", "merged int8", "runtime int8"
CONTENDERS = (EAGER, COMPILED, MERGED, RUNTIME, MERGED_INT8, RUNTIME_INT8, *RIVALS)


class Row(NamedTuple):
    """Median milliseconds a picture of every contender in one setting."""

    blocks: int
    threads: int
    batch: int
    ms: dict[str, float]
    share_of_peak: float
    """Of the runtime in fp32, 0 to 1."""

    def ratio(self, slower: str, faster: str) -> float:
        """How many times as fast as one contender another one is."""
        return self.ms[slower] / self.ms[faster]


def measure(options: argparse.Namespace, blocks: int, peak_flops: Mapping[int, float]) -> list[Row]:
    """The rows of one number of blocks."""
    state = random_state(blocks)
    network = state.network()
    with tempfile.TemporaryDirectory() as folder:
        state.write(Path(folder) / "run" / "state", None)
        of_fp32, of_int8 = (
            read_bundle(
                export(f"{folder}/run", f"{folder}/{c}", ExportRequest(compute=c, force=True)).path
            )
            for c in ("fp32", "int8")
        )
    rows = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        contenders = {
            EAGER: in_torch(network),
            MERGED: in_one_graph(of_fp32, threads),
            RUNTIME: in_runtime(of_fp32, threads),
            MERGED_INT8: in_one_graph(of_int8, threads),
            RUNTIME_INT8: in_runtime(of_int8, threads),
        }
        for batch in options.batches:
            pixels = noise_pictures(batch)
            fast = compiled(network, pixels) if (blocks, batch) in options.compiled else None
            all_of_them = contenders | ({COMPILED: fast} if fast else {})
            if batch == 1:
                all_of_them |= rivals(state.network().eval(), of_fp32, of_int8, threads)
            ms = checked_ms(all_of_them, pixels, options.rounds)
            flops = 1e3 * operations(network) / ms[RUNTIME]
            rows.append(Row(blocks, threads, batch, ms, flops / peak_flops[threads]))
            print(table_line(rows[-1]), flush=True)
    return rows


def checked_ms(
    contenders: Mapping[str, Contender], pixels: Pixels, rounds: int
) -> dict[str, float]:
    """Median milliseconds a picture of each contender, once all are known to say the same."""
    expected = contenders[EAGER](pixels)
    for name, contender in contenders.items():
        allowed = 0.5 if "int8" in name else 1e-4  # noise is the worst there is to calibrate on
        largest = np.abs(expected).max()
        np.testing.assert_allclose(contender(pixels), expected, rtol=0, atol=allowed * largest)
    return latency_bursts.median_ms(contenders, pixels, rounds, BURSTS)


HEADING = (
    "| K | threads | batch | "
    + " | ".join(f"{name}, ms" for name in CONTENDERS)
    + " | against torch | against merged | int8 against fp32 | of peak |\n"
    + "|---" * (7 + len(CONTENDERS))
    + "|"
)


def table_line(row: Row) -> str:
    """One line of the table, in Markdown."""
    ratios = ((EAGER, RUNTIME), (MERGED, RUNTIME), (RUNTIME, RUNTIME_INT8))
    cells = [str(row.blocks), str(row.threads), str(row.batch)]
    cells += [f"{row.ms[name]:.2f}" if name in row.ms else "" for name in CONTENDERS]
    cells += [f"{row.ratio(*pair):.2f}x" for pair in ratios]
    return f"| {' | '.join(cells)} | {100 * row.share_of_peak:.0f} % |"


def findings(rows: Sequence[Row]) -> list[str]:
    """What the claims come to, a line each."""
    lines = []
    by_setting = {(row.blocks, row.threads, row.batch): row for row in rows}
    claims = (
        (1, EAGER, RUNTIME, 2.5),
        (2, MERGED, RUNTIME, 1.25),
        (1, RUNTIME, RUNTIME_INT8, 2.0),
        (2, RUNTIME, RUNTIME_INT8, 2.0),
    )
    for threads, slower, faster, least in claims:
        if row := by_setting.get((CLAIMED_BLOCKS, threads, 1)):
            ratio = row.ratio(slower, faster)
            verdict = "as claimed" if ratio >= least else "MISSED"
            lines.append(
                f"K = {row.blocks}, threads {threads}: {faster} is {ratio:.2f} times as fast as "
                f"{slower}; claimed {least}: {verdict}"
            )
    for threads in THREADS:
        for name in (RUNTIME, RUNTIME_INT8):
            points = [(r.blocks, r.ms[name]) for r in rows if (r.threads, r.batch) == (threads, 1)]
            if len(points) > 1:
                lines.append(f"threads {threads}, {name}: {straight_line(points)}")
    return lines


def straight_line(points: Sequence[tuple[int, float]]) -> str:
    """The line through (blocks, ms) with the least squares of errors relative to the times."""
    blocks, ms = np.array(points, float).T
    slope, offset = np.polyfit(blocks, ms, 1, w=1 / ms)
    off = np.abs((offset + slope * blocks) / ms - 1).max()
    return f"{offset:.2f} ms and {slope:.3f} ms a block, off by {100 * off:.0f} % at most"


def main() -> None:
    """Measure every setting and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--blocks", type=int, nargs="+", metavar="K", help="numbers of blocks")
    parser.add_argument("--short", action="store_true", help="few settings, once each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    options.rounds = 1 if options.short else ROUNDS
    options.threads = (1,) if options.short else THREADS
    options.batches = (2,) if options.short else BATCHES
    options.compiled = () if options.short else ((CLAIMED_BLOCKS, 1),)
    load = os.getloadavg()[0]
    peak_flops = {threads: peak_flops_of(threads) for threads in options.threads}
    print(HEADING)
    blocks = (1,) if options.short else BLOCKS
    rows = [row for k in options.blocks or blocks for row in measure(options, k, peak_flops)]
    print(*findings(rows), sep="\n")
    latency_bursts.write_results(
        "inference_latency",
        "Latency of one picture",
        f"ResNet32, {IMAGE_SIZE_PX} x {IMAGE_SIZE_PX} pixels; milliseconds a picture, medians over "
        f"{options.rounds} bursts.",
        rows,
        [HEADING, *map(table_line, rows)],
        findings(rows),
        options,
        load,
        backbone="resnet32",
        image_size_px=IMAGE_SIZE_PX,
    )


if __name__ == "__main__":
    main()
