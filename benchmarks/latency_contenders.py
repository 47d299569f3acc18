"""What inference_latency.py compares: a random network in torch, in one graph, in the runtime.

Shapes: N pictures, S image size, C classes.
"""

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.networks import ExpandableNetwork
from edgecil_devices import Bundle, Preprocessing
from edgecil_devices._onnxruntime import onnxruntime
from edgecil_devices.graphs import joined
from edgecil_devices.runtime import PIXELS, Runtime

CLASSES_PER_TASK = 10
IMAGE_SIZE_PX = 32
PEAK_SIDE, PEAK_S = 512, 1.0
"""For a second, since it takes a while until all threads are at full speed."""

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
Contender = Callable[[Pixels], Logits]
"""Pixels (N, S, S, 3) -> logits (N, C)."""


def random_state(blocks: int) -> State:
    """A state of `blocks` tasks with random weights, and noise to calibrate int8 on."""
    torch.manual_seed(blocks)
    settings = StateSettings(
        method="memo",
        backbone="resnet32",
        cut="last",
        precision="fp32",
        codec="raw",
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
    codec = codec_named(settings.codec)
    noise = noise_pictures(6 * len(settings.classes)).reshape(-1, 6, *noise_pictures(1).shape[1:])
    payloads = [codec.encode_many(of_class) for of_class in noise]
    exemplars = ExemplarSet.empty(codec, IMAGE_SIZE_PX).with_new_classes(payloads)
    return State.of(settings, network, exemplars)


def noise_pictures(count: int) -> Pixels:
    """Random pixels (N, S, S, 3)."""
    shape = (count, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def merged_graph(bundle: Bundle) -> bytes:
    """The graphs of a bundle and its head as one graph, from pixels to logits."""
    *names, head = (blob.name for blob in bundle.manifest.blobs if "golden" not in blob.role)
    trunk, *blocks = (bundle.blobs[name] for name in names)
    model = onnx.load_from_string(joined(trunk, blocks))
    graph = model.graph
    features = [output.name for output in graph.output]
    table = np.load(io.BytesIO(bundle.blobs[head])).astype(np.float32)
    graph.node.append(helper.make_node("Concat", features, ["all"], axis=1))
    graph.node.append(helper.make_node("Gemm", ["all", "weight", "bias"], ["logits"], transB=1))
    graph.initializer.append(numpy_helper.from_array(table[:, :-1].copy(), "weight"))
    graph.initializer.append(numpy_helper.from_array(table[:, -1].copy(), "bias"))
    del graph.output[:]
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", len(table)])
    graph.output.append(logits)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def in_torch(network: Callable[[torch.Tensor], torch.Tensor]) -> Contender:
    """The network as training has it, or compiled."""

    def run(pixels: Pixels) -> Logits:
        with torch.inference_mode():
            logits: Logits = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
            return logits

    return run


def default_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session with onnxruntime's default options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def in_one_graph(bundle: Bundle, threads: int) -> Contender:
    """The bundle as one graph."""
    session = default_session(merged_graph(bundle), threads)
    return lambda pixels: session.run(None, {PIXELS: pixels})[0]


def in_runtime(bundle: Bundle, threads: int) -> Contender:
    """The bundle as a device runs it."""
    runtime = Runtime(bundle, threads)
    return lambda pixels: runtime.run(pixels).logits


def compiled(network: ExpandableNetwork, pixels: Pixels) -> Contender | None:
    """The network compiled for this number of pictures; None, with the reason, if it cannot be."""
    torch._dynamo.reset()
    run = in_torch(torch.compile(network, dynamic=False))
    try:
        run(pixels)
    except Exception as error:  # compilers fail in many ways, and none of them matters here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"torch.compile is left out: {reason}")
        return None
    return run


def operations(network: ExpandableNetwork, size_px: int = IMAGE_SIZE_PX) -> int:
    """Multiplications and additions of convolutions and head, a picture."""
    total = 0

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += 2 * output.numel() * weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    in_torch(network)(np.zeros((1, size_px, size_px, 3), np.uint8))
    for hook in hooks:
        hook.remove()
    return total


def peak_flops_of(threads: int) -> float:
    """Multiplications and additions a second of onnxruntime's best product of two matrices."""
    matrix = np.random.default_rng(0).random((PEAK_SIDE, PEAK_SIDE), dtype=np.float32)
    product = helper.make_node("MatMul", ["a", "b"], ["product"])
    factor, result = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, matrix.shape)
        for name in ("a", "product")
    )
    constant = numpy_helper.from_array(matrix, "b")
    graph = helper.make_graph([product], "product", [factor], [result], [constant])
    model = helper.make_model(graph, ir_version=9)
    session = default_session(model.SerializeToString(), threads)
    seconds: list[float] = []
    while sum(seconds) < PEAK_S:
        start = time.perf_counter()
        session.run(None, {"a": matrix})
        seconds.append(time.perf_counter() - start)
    return float(2 * PEAK_SIDE**3 / min(seconds))
