"""Other runtimes beside ours, where their packages are installed: ncnn, OpenVINO and OpenCV.

ncnn gets the network converted by pnnx, from pixels in float; OpenVINO and OpenCV the bundle as one
graph. Each is told the number of threads, and to compute in 32 bits what is not in int8.

Shapes: N pictures, S image size, C classes.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgecil.networks import ExpandableNetwork
from edgecil_devices import Bundle
from edgecil_devices.runtime import PIXELS
from edgecil_export.inference import for_inference
from latency_contenders import Contender, Logits, Pixels, merged_graph

NCNN, OPENVINO, OPENVINO_INT8, OPENCV = "ncnn", "OpenVINO", "OpenVINO int8", "OpenCV"
RIVALS = (NCNN, OPENVINO, OPENVINO_INT8, OPENCV)


def rivals(
    network: ExpandableNetwork, of_fp32: Bundle, of_int8: Bundle, threads: int
) -> dict[str, Contender]:
    """Those that are installed here, for one picture at a time."""
    found: dict[str, Contender] = {}
    if find_spec("ncnn") and find_spec("pnnx"):
        found[NCNN] = in_ncnn(network, of_fp32.manifest.preprocessing.image_size_px, threads)
    if find_spec("openvino"):
        found[OPENVINO] = in_openvino(merged_graph(of_fp32), threads)
        found[OPENVINO_INT8] = in_openvino(merged_graph(of_int8), threads)
    if find_spec("cv2"):
        found[OPENCV] = in_opencv(merged_graph(of_fp32), threads)
    return found


def in_ncnn(network: ExpandableNetwork, size_px: int, threads: int) -> Contender:
    """The network in ncnn."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    with tempfile.TemporaryDirectory() as folder:
        convert_for_ncnn(network, torch.zeros(1, 3, size_px, size_px), Path(folder))
        net.load_param(f"{folder}/network.ncnn.param")
        net.load_model(f"{folder}/network.ncnn.bin")

    def run(pixels: Pixels) -> Logits:
        values = np.ascontiguousarray(pixels[0].transpose(2, 0, 1).astype(np.float32))
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(values))
        return np.array(extractor.extract("out0")[1])[None]

    return run


def convert_for_ncnn(network: ExpandableNetwork, picture: torch.Tensor, folder: Path) -> None:
    """Write network.ncnn.param and .bin, in full precision.

    As export has the network: what follows a convolution folded into it, and no slices, which ncnn
    does not know.
    """
    import pnnx

    network.trunk = for_inference(network.trunk)
    network.blocks = nn.ModuleList(map(for_inference, network.blocks))
    with _silence():
        pnnx.export(network, str(folder / "network.pt"), (picture,), fp16=False)


def in_openvino(model: bytes, threads: int) -> Contender:
    """A graph in OpenVINO, for the least time a picture."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"  # or some processors compute in bfloat16
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings)

    def run(pixels: Pixels) -> Logits:
        logits: Logits = compiled({PIXELS: pixels})[0]
        return logits

    return run


def in_opencv(model: bytes, threads: int) -> Contender:
    """A graph in OpenCV."""
    import cv2

    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

    def run(pixels: Pixels) -> Logits:
        cv2.setNumThreads(threads)
        net.setInput(pixels, PIXELS)
        logits: Any = net.forward()
        return np.asarray(logits, np.float32)

    return run


@contextmanager
def _silence() -> Iterator[None]:
    """What other programs print is thrown away meanwhile."""
    kept = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "w") as nowhere:
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    try:
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
