"""BatchNorm folded into the convolution before it, so that each convolution is all there is.

At inference BatchNorm is y = (x - mean) / sqrt(var + eps) * gamma + beta with fixed numbers, which
the convolution's own weight and bias can take over. It is done here and not by the ONNX exporter,
so that every number of an exported graph is a parameter of the folded module, under its name.
"""

import copy

import torch
from torch import Tensor, fx, nn

from edgecil.errors import ExportError


def fold_batchnorm(module: nn.Module) -> fx.GraphModule:
    """A copy of `module`, in evaluation mode on the CPU, without BatchNorm.

    The sums are done in float64 and rounded once, to float32.

    Raises:
        ExportError: a BatchNorm does not directly follow a convolution of its own.
    """
    folded = fx.symbolic_trace(copy.deepcopy(module).cpu().eval())
    for node in list(folded.graph.nodes):
        if node.op != "call_module" or not isinstance(
            norm := folded.get_submodule(node.target), nn.BatchNorm2d
        ):
            continue
        before = node.args[0]
        conv = folded.get_submodule(before.target) if before.op == "call_module" else None
        if not isinstance(conv, nn.Conv2d) or len(before.users) > 1:
            raise ExportError(
                f"{node.target} follows {before.name}, not a convolution of its own; "
                "it cannot be folded, choose another backbone"
            )
        _fold_into(conv, norm)
        node.replace_all_uses_with(before)
        folded.graph.erase_node(node)
    folded.delete_all_unused_submodules()
    folded.recompile()
    return folded.requires_grad_(False)


def _fold_into(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = _double(norm.running_mean), _double(norm.running_var)
    factor = _double(norm.weight) / torch.sqrt(variance + norm.eps)
    bias = torch.zeros_like(mean) if conv.bias is None else _double(conv.bias)
    weight = _double(conv.weight) * factor[:, None, None, None]
    conv.weight = nn.Parameter(weight.float())
    conv.bias = nn.Parameter(((bias - mean) * factor + _double(norm.bias)).float())


def _double(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ExportError("a BatchNorm without affine parameters or statistics cannot be folded")
    return tensor.detach().double()
