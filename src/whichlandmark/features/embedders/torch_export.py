"""Export the network to one ONNX file: normalised pixels in, unit rows out.

Batch size, height and width are dynamic. The file includes pooling, projection, BatchNorm and L2
normalisation; BatchNorms of the backbone are folded into their convolutions. Opset 18.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional

from ...core.errors import ModelError, OptionError, install_command
from ...core.files import atomic_file
from .torch_network import EmbeddingNet

OPSET = 18

MAX_DIFFERENCE = 1e-4  # between the unit rows of torch and of the file, per number

# (photos, height, width) that are compared: portrait, landscape, and not multiples of 32.
TEST_SHAPES = ((1, 64, 96), (3, 97, 131), (2, 128, 64))

TEST_PATCHES = ((1, 4, 6), (3, 7, 5), (2, 5, 3))  # the same, in patches, for networks with patches


class SamePadding(nn.Module):
    """A convolution with TensorFlow's "same" padding, exported as a single ONNX node.

    timm computes the padding from the input size. Exported literally, every such layer would
    become shape arithmetic and a padded copy of its input; ONNX's `auto_pad` does the same.
    """

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        (stride_y, stride_x), (n, _, height, width) = conv.stride, x.shape
        inputs = (x, conv.weight) if conv.bias is None else (x, conv.weight, conv.bias)
        attributes = {
            "auto_pad": "SAME_UPPER",
            "strides": list(conv.stride),
            "group": conv.groups,
            "dilations": list(conv.dilation),
            "kernel_shape": list(conv.kernel_size),
        }
        rows, columns = (height + stride_y - 1) // stride_y, (width + stride_x - 1) // stride_x
        shape = (n, conv.out_channels, rows, columns)
        node: Tensor = torch.onnx.ops.symbolic(
            "Conv", inputs, attributes, dtype=x.dtype, shape=shape, version=OPSET
        )
        return node


class ExportableNet(nn.Module):
    """`EmbeddingNet` that pools over both spatial axes at once, so the graph has no reshapes."""

    def __init__(self, net: EmbeddingNet) -> None:
        super().__init__()
        self.net = net
        self.p = float(net.pool.p.detach())

    def forward(self, pixels: Tensor) -> Tensor:
        if self.net.architecture.pool != "gem":
            return functional.normalize(self.net.head(self.net.pool_features(pixels)), dim=1)
        features = self.net.feature_map(pixels)
        positions = tuple(range(2, features.ndim))
        if self.net.pool.averages:
            pooled = features.mean(dim=positions)
        else:
            features = features.clamp(min=self.net.pool.smallest)
            pooled = features.pow(self.p).mean(dim=positions).pow(1 / self.p)
        return functional.normalize(self.net.head(pooled), dim=1)


def export_onnx(
    net: EmbeddingNet,
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    multiple: int | None = None,
) -> None:
    """Write `net` as an ONNX file, atomically, after comparing it with torch at several shapes.

    Input "pixels" (N, 3, H, W) float32, normalised; output "embedding" (N, dim), unit rows.
    size: (height, width) of a network with a fixed input size; None = any size.
    multiple: of which the sides must be multiples, as of a patch; None = any.
    Raises ModelError when the network cannot be exported, or when any number differs from torch's
    by more than 1e-4; OptionError when a package for the export is missing.
    """
    network = copy.deepcopy(net).cpu().float().to(memory_format=torch.contiguous_format).eval()
    shapes: Sequence[tuple[int, int, int]] = TEST_SHAPES
    if size is not None:
        shapes = [(n, *size) for n in (1, 3)]
    elif multiple is not None:
        shapes = [(n, rows * multiple, columns * multiple) for n, rows, columns in TEST_PATCHES]
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise OptionError(
            f"exporting an embedder needs {error.name}; install it with: {install_command('train')}"
        ) from None
    del onnx, onnxruntime, onnxscript
    with atomic_file(path) as temporary:
        try:
            with torch.inference_mode():
                expected = [network(_random_pixels(shape)).numpy() for shape in shapes]
            _run_exporter(network, temporary, shapes[-1], fixed=size is not None)
        except Exception as error:  # exporter and backbones raise many kinds of error
            reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
            raise ModelError(
                f"backbone {network.architecture.backbone!r} cannot be written as ONNX "
                f"({reason[:200]})"
            ) from None
        _compare(temporary, shapes, expected, path)


def _run_exporter(net: EmbeddingNet, path: Path, shape: Sequence[int], *, fixed: bool) -> None:
    axes = (0,) if fixed else (0, 2, 3)
    dynamic_axes = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    exported = ExportableNet(net)
    _use_onnx_same_padding(exported)
    for module in exported.modules():  # torch cannot always convert its fused attention
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    with _quiet():
        program = torch.onnx.export(
            exported,
            (_random_pixels(shape),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=["embedding"],
            dynamic_shapes=(dynamic_axes,),
            optimize=True,
        )
        assert program is not None
        program.save(path, external_data=False)


def _compare(
    path: Path, shapes: Sequence[Sequence[int]], expected: list[Any], final_path: Path
) -> None:
    """Raises ModelError, naming `final_path`, unless the file at `path` gives the expected rows."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        rows = [session.run(None, {"pixels": _random_pixels(s).numpy()})[0] for s in shapes]
    except Exception as error:  # the runtime's exceptions have no common base class
        raise ModelError(f"{final_path}: the exported network does not run ({error})") from None
    difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, rows, strict=True))
    if not difference <= MAX_DIFFERENCE:
        raise ModelError(
            f"{final_path}: the exported network differs from torch by {difference:.1e}; expected "
            f"at most {MAX_DIFFERENCE:.0e}; nothing was written"
        )


def _random_pixels(shape: Sequence[int]) -> Tensor:
    count, height, width = shape
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(count, 3, height, width, generator=generator)


def _use_onnx_same_padding(module: nn.Module) -> None:
    """Replace every `Conv2dSame` in a module tree by `SamePadding`."""
    for name, child in list(module.named_children()):
        if isinstance(child, Conv2dSame):
            setattr(module, name, SamePadding(child))
        else:
            _use_onnx_same_padding(child)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's prints and warnings; exceptions are still raised."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.__trace")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
