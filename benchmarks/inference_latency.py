"""How long one picture takes: eager torch, one merged ONNX graph, and the runtime.

Claim: with K = 10 blocks of ResNet32 at batch 1 the runtime is at least 2.5 times as fast as eager
torch on one thread, and not slower than a merged graph on two.

    python benchmarks/inference_latency.py

- eager torch: the `ExpandableNetwork` itself, fp32, evaluation and inference mode.
- merged graph: trunk, blocks and head as one ONNX graph, with onnxruntime's default options but for
  the number of threads.
- runtime: the bundle, as `edgecil_devices` runs it.

All three start from the same 32x32 pixels in uint8 and end in logits, which are compared. Weights
are random, BatchNorm statistics too. Each contender runs in bursts, taking turns with the others,
so that a change of the machine's pace meets all of them; the pauses between let the threads of the
last one come to rest. Medians of n runs; n, hardware and versions stand with
the results, `results/inference_latency.json` and `.md`.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from edgecil.memory.codecs import DEFAULT_CODEC, codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.networks import ExpandableNetwork
from edgecil.training.run import hardware, versions
from edgecil_devices import Preprocessing, read_bundle
from edgecil_devices._onnxruntime import onnxruntime
from edgecil_devices.runtime import FEATURE_MAP, FEATURES, PIXELS, Runtime
from edgecil_export import export
from edgecil_export.graphs import IR_VERSION, OPSET

BLOCKS = (1, 2, 5, 10, 20)
THREADS = (1, 2)
CLASSES_PER_TASK = 10
IMAGE_SIZE_PX = 32
BURST = 20
WARM_UP = 5
PAUSE_S = 0.1
"""Threads of onnxruntime and torch go on spinning for up to 40 ms after a run."""

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
Contender = Callable[[Pixels], Logits]
"""Pixels (1, S, S, 3) -> logits (1, C)."""


@dataclass(frozen=True)
class Row:
    """Median latencies of one arrangement."""

    blocks: int
    threads: int
    torch_ms: float
    merged_ms: float
    runtime_ms: float

    @property
    def against_torch(self) -> float:
        """How many times as fast as eager torch the runtime is."""
        return self.torch_ms / self.runtime_ms

    @property
    def against_merged(self) -> float:
        """How many times as fast as the merged graph the runtime is."""
        return self.merged_ms / self.runtime_ms


def random_state(blocks: int) -> State:
    """A state of `blocks` tasks with random weights and no exemplars."""
    torch.manual_seed(blocks)
    settings = StateSettings(
        method="memo",
        backbone="resnet32",
        cut="last",
        precision="fp32",
        codec=DEFAULT_CODEC,
        preprocessing=Preprocessing(IMAGE_SIZE_PX),
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        block_count=blocks,
        classes=tuple(f"class-{c}" for c in range(blocks * CLASSES_PER_TASK)),
        task_sizes=(CLASSES_PER_TASK,) * blocks,
    )
    network = settings.empty_network()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name in ("weight", "running_var"):
                getattr(module, name).data.uniform_(0.5, 1.5)
            for name in ("bias", "running_mean"):
                getattr(module, name).data.normal_(0, 0.1)
    exemplars = ExemplarSet.empty(codec_named(DEFAULT_CODEC), IMAGE_SIZE_PX)
    return State.of(settings, network, exemplars)


def merged_graph(blobs: dict[str, bytes]) -> bytes:
    """The graphs of a bundle and its head as one graph, from pixels to logits."""
    *names, head = blobs
    trunk, *blocks = (onnx.load_from_string(blobs[name]).graph for name in names)
    nodes, weights = [*trunk.node], [*trunk.initializer]
    for k, block in enumerate(blocks):
        for node in block.node:  # all names but that of the shared input become the block's own
            for names_of in (node.input, node.output):
                names_of[:] = [n if n == FEATURE_MAP else f"{k}.{n}" for n in names_of]
            node.name = f"{k}.{node.name}"
        for weight in block.initializer:
            weight.name = f"{k}.{weight.name}"
        nodes += block.node
        weights += block.initializer
    features = [f"{k}.{FEATURES}" for k in range(len(blocks))]
    nodes.append(helper.make_node("Concat", features, ["all"], axis=1))
    nodes.append(helper.make_node("Gemm", ["all", "weight", "bias"], ["logits"], transB=1))
    table = np.load(io.BytesIO(blobs[head]))
    weights.append(numpy_helper.from_array(table[:, :-1].copy(), "weight"))
    weights.append(numpy_helper.from_array(table[:, -1].copy(), "bias"))
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", len(table)])
    graph = helper.make_graph(nodes, "merged", trunk.input, [logits], weights)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def eager_torch(network: ExpandableNetwork) -> Contender:
    """The network as training has it."""

    def run(pixels: Pixels) -> Logits:
        with torch.inference_mode():
            logits: Logits = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
            return logits

    return run


def merged_session(model: bytes, threads: int) -> Contender:
    """One graph with onnxruntime's default options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {PIXELS: pixels})[0]


def measure(blocks: int, repetitions: int) -> list[Row]:
    """The rows of one number of blocks."""
    state = random_state(blocks)
    with tempfile.TemporaryDirectory() as folder:
        state.write(Path(folder) / "run" / "state", None)
        bundle = read_bundle(export(Path(folder) / "run", Path(folder) / "x.edgecil").path)
    merged = merged_graph(bundle.blobs)
    rows = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        runtime = Runtime(bundle, threads)
        contenders = (
            eager_torch(state.network()),
            merged_session(merged, threads),
            lambda pixels, runtime=runtime: runtime.run(pixels).logits,
        )
        rows.append(Row(blocks, threads, *median_latencies_ms(contenders, repetitions)))
        print(table_line(rows[-1]), flush=True)
    return rows


def median_latencies_ms(contenders: Sequence[Contender], repetitions: int) -> list[float]:
    """Median milliseconds a picture of each contender, in bursts that take turns."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
    expected, *others = (contender(pixels) for contender in contenders)
    for logits in others:
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    times_ms: list[list[float]] = [[] for _ in contenders]
    for _ in range(-(-repetitions // BURST)):
        for contender, times in zip(contenders, times_ms, strict=True):
            time.sleep(PAUSE_S)
            for _ in range(WARM_UP):
                contender(pixels)
            for _ in range(BURST):
                start = time.perf_counter()
                contender(pixels)
                times.append((time.perf_counter() - start) * 1e3)
    return [median(times) for times in times_ms]


HEADING = (
    "| blocks K | threads | eager torch, ms | merged graph, ms | runtime, ms "
    "| against torch | against merged |\n|---|---|---|---|---|---|---|"
)


def table_line(row: Row) -> str:
    """One line of the table, in Markdown."""
    return (
        f"| {row.blocks} | {row.threads} | {row.torch_ms:.2f} | {row.merged_ms:.2f} "
        f"| {row.runtime_ms:.2f} | {row.against_torch:.2f}x | {row.against_merged:.2f}x |"
    )


def write_results(rows: list[Row], repetitions: int, folder: Path) -> None:
    """Write the results as JSON and as a table."""
    packages = versions() | {name: version(name) for name in ("onnx", "onnxruntime")}
    machine = hardware(torch.device("cpu"))
    results = [
        asdict(row) | {"against_torch": row.against_torch, "against_merged": row.against_merged}
        for row in rows
    ]
    content = {
        "backbone": "resnet32",
        "image_size_px": IMAGE_SIZE_PX,
        "batch": 1,
        "runs": repetitions,
        "rows": results,
        "versions": packages,
        "hardware": machine,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference_latency.json").write_text(json.dumps(content, indent=1) + "\n")
    about = ", ".join(f"{name} {number}" for name, number in packages.items())
    lines = [
        "# Latency of one picture",
        "",
        f"ResNet32, {IMAGE_SIZE_PX} x {IMAGE_SIZE_PX} pixels, batch 1, fp32; medians of "
        f"{repetitions} runs. {machine['processor']}, {machine['cores']} cores; {about}. "
        "Made by `benchmarks/inference_latency.py`, which says what is compared.",
        "",
        HEADING,
        *map(table_line, rows),
    ]
    (folder / "inference_latency.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measure every arrangement and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=400, help="runs of each contender")
    parser.add_argument("--blocks", type=int, nargs="+", default=BLOCKS, help="values of K")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    print(HEADING)
    rows = [row for k in arguments.blocks for row in measure(k, arguments.repetitions)]
    write_results(rows, arguments.repetitions, arguments.out)


if __name__ == "__main__":
    main()
