"""From torch modules to ONNX graphs, one for the trunk and one for each block.

The exporter of torch takes seconds a graph, whatever its weights. So each kind of graph is exported
once in a process, as a template with weights that mean nothing, and every trunk or block is a copy
of its template with its own weights put in by name. The random weights also keep the exporter from
merging or simplifying what happens to be equal or zero.

Shapes: N images, S image size.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import numpy as np
import onnx
import torch
from onnx import AttributeProto, ModelProto, TensorProto
from torch import Tensor, fx, nn

from edgecil.errors import ExportError
from edgecil_devices.graph_shapes import OPERATORS
from edgecil_devices.runtime import FEATURE_MAP, FEATURES, PIXELS
from edgecil_export.inference import for_inference
from edgecil_export.precision import Floats, Stored, put_weights

OPSET = 18
"""The exporter's own, so nothing is converted; onnxruntime has known it since 1.14."""
IR_VERSION = 8
"""The one that came with the opset."""

_MOST_TEMPLATES = 16
_templates: dict[str, ModelProto] = {}
"""By structure, the oldest first."""


class PixelTrunk(nn.Module):
    """A trunk that starts from pixels: uint8 (N, S, S, 3) -> feature map.

    The change of layout and the normalisation are inside, so a device cannot get them wrong.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, trunk: fx.GraphModule, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels in 0..255, RGB -> feature map (N, C, H, W)."""
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        feature_map: Tensor = self.trunk(planes * self.scale + self.shift)
        return feature_map


def folded_trunk(trunk: nn.Module, mean: Tensor, std: Tensor) -> PixelTrunk:
    """The trunk without BatchNorm, from pixels on."""
    return PixelTrunk(for_inference(trunk), mean.cpu(), std.cpu()).eval()


def trunk_template(trunk: PixelTrunk, image_size_px: int) -> ModelProto:
    """The trunk's graph, with weights that mean nothing."""
    pixels = torch.zeros(2, image_size_px, image_size_px, 3, dtype=torch.uint8)
    return _template(trunk, pixels, PIXELS, FEATURE_MAP)


def block_template(block: nn.Module, feature_map: Tensor) -> ModelProto:
    """A block's graph, with weights that mean nothing; `feature_map` shows its input's shape."""
    # Memory in any order but NCHW would find its way into the graph, as a Gather.
    example = torch.zeros(2, *feature_map.shape[1:])
    return _template(block, example, FEATURE_MAP, FEATURES)


def tensors_of(module: nn.Module) -> dict[str, Floats]:
    """A folded module's parameters and buffers by name."""
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def with_weights(template: ModelProto, stored: dict[str, Stored]) -> bytes:
    """The bytes of a copy of `template` with the weights `stored`.

    Raises:
        ExportError: the weights are not those the template has room for, or not finite.
    """
    expected = {
        tensor.name: tuple(tensor.dims)
        for tensor in template.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and tensor.dims  # a limit of Clip has none
    }
    found = {name: weight.values.shape for name, weight in stored.items()}
    if expected != found:
        different = sorted({name for name, _ in expected.items() ^ found.items()})
        raise ExportError(
            f"the exported graph and the network differ in {', '.join(different[:3])}; "
            "use the versions of torch and onnxscript that edgecil names"
        )
    for name, weight in stored.items():
        if not np.isfinite(weight.restored).all():
            raise ExportError(f"{name} holds values that are not finite; train the task again")
    model = copy.deepcopy(template)
    put_weights(model, stored)
    check_graph(model)
    return bytes(model.SerializeToString(deterministic=True))


def check_graph(model: ModelProto) -> None:
    """Check that a graph is plain: known operators, nothing outside the file, nothing left over.

    Raises:
        ExportError: it is not.
    """
    graph = model.graph
    operators = {f"{node.domain or ''}{node.op_type}" for node in graph.node}
    if unknown := operators - OPERATORS:
        raise ExportError(f"the graph uses {', '.join(sorted(unknown))}; choose another backbone")
    nested = (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.SPARSE_TENSOR)
    if model.functions or any(a.type in nested for node in graph.node for a in node.attribute):
        raise ExportError("the graph holds other graphs; choose another backbone")
    outside = [t.name for t in graph.initializer if t.data_location != TensorProto.DEFAULT]
    if outside or graph.sparse_initializer:
        raise ExportError("the graph keeps weights outside its file; choose another backbone")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error


def _template(module: nn.Module, example: Tensor, source: str, sink: str) -> ModelProto:
    """The template of all modules of this structure; nobody may change it."""
    structure = "\n".join([source, sink, *_structure(module), f"{example.dtype} {example.shape}"])
    if structure not in _templates:
        while len(_templates) >= _MOST_TEMPLATES:
            del _templates[next(iter(_templates))]
        _templates[structure] = _exported(module, example, source, sink)
    return _templates[structure]


def _structure(module: nn.Module) -> Iterator[str]:
    """All that a module's graph depends on, which is all but its weights."""
    for part in module.modules():
        if isinstance(part, fx.GraphModule):
            yield part.code
        else:
            plain = {name: value for name, value in vars(part).items() if name[0] != "_"}
            yield f"{type(part).__qualname__} {plain}"
    for name, tensor in module.state_dict().items():
        yield f"{name} {tensor.dtype} {tensor.shape}"


def _exported(module: nn.Module, example: Tensor, source: str, sink: str) -> ModelProto:
    module = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own future, not about the graph
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            external_data=False,
            optimize=True,  # as torch does by itself from 2.7 on
            opset_version=OPSET,
            input_names=[source],
            output_names=[sink],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx exported nothing; install the torch that edgecil asks for")
    model = program.model_proto
    strip(model)
    return model


def strip(model: ModelProto) -> None:
    """Take out what the exporter adds about the workstation, and say what made the file instead."""
    graph = model.graph
    commented: Iterable[onnx.TensorProto | onnx.NodeProto | onnx.ValueInfoProto] = (
        *graph.node,
        *graph.initializer,
        *graph.input,
        *graph.output,
    )
    for part in (model, graph, *commented):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.DEFAULT:  # of several ways to write numbers, one
            raw = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
            tensor.CopyFrom(raw)
    graph.ClearField("value_info")
    graph.name = graph.output[0].name
    model.ir_version = IR_VERSION
    model.producer_name = "edgecil"
    model.producer_version = version("edgecil")
