"""EfficientNet-Lite0 in numpy and float64, from the tensors of the published file by its own names.

Written from the network's description and TensorFlow's of SAME, and not from ours.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}
"""Blocks that halve the map; the others keep it."""


def same_convolution(x: Array, weight: Array, stride: int, *, by_channel: bool = False) -> Array:
    """(C, H, W) with kernels (O, C, k, k), or (C, 1, k, k) by channel, as TensorFlow pads."""
    kernel = weight.shape[2]
    out = [math.ceil(side / stride) for side in x.shape[1:]]
    missing = [
        max((o - 1) * stride + kernel - side, 0) for o, side in zip(out, x.shape[1:], strict=True)
    ]
    padded = np.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing)])
    found = np.zeros((len(weight), *out))
    for row in range(out[0]):
        for column in range(out[1]):
            top, left = row * stride, column * stride
            window = padded[:, top : top + kernel, left : left + kernel]
            pattern = "cij,cij->c" if by_channel else "cij,ocij->o"
            kernels = weight[:, 0] if by_channel else weight
            found[:, row, column] = np.einsum(pattern, window, kernels)
    return found


class Published:
    """The network, as far as b15, on one picture."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self.tensors = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}

    def normed(self, x: Array, name: str) -> Array:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gamma, beta = (
            self.tensors[f"{name}.{kind}"][:, None, None] for kind in names
        )
        return (x - mean) / np.sqrt(variance + 0.001) * gamma + beta

    def block(self, number: int, x: Array) -> Array:
        name, stride = f"_blocks.{number}.", STRIDES.get(number, 1)
        wide = x
        if number > 0:
            wide = same_convolution(x, self.tensors[name + "_expand_conv.weight"], 1)
            wide = np.clip(self.normed(wide, name + "_bn0"), 0, 6)
        kernels = self.tensors[name + "_depthwise_conv.weight"]
        wide = same_convolution(wide, kernels, stride, by_channel=True)
        wide = np.clip(self.normed(wide, name + "_bn1"), 0, 6)
        narrow = same_convolution(wide, self.tensors[name + "_project_conv.weight"], 1)
        narrow = self.normed(narrow, name + "_bn2")
        return narrow + x if stride == 1 and narrow.shape == x.shape else narrow

    def maps(self, pixels: NDArray[np.uint8]) -> dict[str, Array]:
        """A picture (S, S, 3) -> the maps after some of the blocks."""
        x = (pixels.astype(np.float64).transpose(2, 0, 1) - 127) / 128
        x = same_convolution(x, self.tensors["_conv_stem.weight"], 2)
        x = np.clip(self.normed(x, "_bn0"), 0, 6)
        found = {}
        for number in range(16):
            found[f"b{number}"] = x = self.block(number, x)
        return found
