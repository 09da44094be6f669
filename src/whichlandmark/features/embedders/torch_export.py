"""The network as one ONNX file that needs no torch: pixels in, unit rows out.

Batch, height and width are free. GeM, projection, BatchNorm and normalisation are inside;
BatchNorm is folded into the convolution before it. Opset 18.
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

from ...core.errors import ModelError, OptionError
from ...core.files import whole_file
from .torch_network import EmbeddingNet

OPSET = 18

PARITY = 1e-4  # largest difference of a number of a unit row between torch and the file

# Photos × height × width: one and several, upright and lying, no multiple of 32 among them.
SHAPES = ((1, 64, 96), (3, 97, 131), (2, 128, 64))


class SamePadding(nn.Module):
    """A convolution padded as TensorFlow does, as one node of the graph.

    timm reckons the padding from the size of its input. ONNX has a word for that rule; without
    it the graph would hold that arithmetic for every layer, and every layer a padded copy.
    """

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        (down, across), (n, _, height, width) = conv.stride, x.shape
        inputs = (x, conv.weight) if conv.bias is None else (x, conv.weight, conv.bias)
        attributes = {
            "auto_pad": "SAME_UPPER",
            "strides": list(conv.stride),
            "group": conv.groups,
            "dilations": list(conv.dilation),
            "kernel_shape": list(conv.kernel_size),
        }
        shape = (n, conv.out_channels, (height + down - 1) // down, (width + across - 1) // across)
        made: Tensor = torch.onnx.ops.symbolic(
            "Conv", inputs, attributes, dtype=x.dtype, shape=shape, version=OPSET
        )
        return made


class Exported(nn.Module):
    """`EmbeddingNet` with its mean over positions taken in one step: no reshaping in the graph."""

    def __init__(self, net: EmbeddingNet) -> None:
        super().__init__()
        self.net = net
        self.p = float(net.pool.p.detach())

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.net._feature_map(pixels)
        places = tuple(range(2, features.ndim))
        if self.net.pool.averages:
            pooled = features.mean(dim=places)
        else:
            features = features.clamp(min=self.net.pool.smallest)
            pooled = features.pow(self.p).mean(dim=places).pow(1 / self.p)
        return functional.normalize(self.net.head(pooled), dim=1)


def export_onnx(net: EmbeddingNet, path: Path, *, size: tuple[int, int] | None = None) -> None:
    """Write `net` as ONNX, whole or not at all, after comparing it with torch at several shapes.

    Input "pixels" (N, 3, H, W) float32, normalised; output "embedding" (N, dim), unit rows.
    size: height and width where the network takes no other; None = any.
    Raises ModelError when the network cannot be exported, or when any number differs from torch's
    by more than 1e-4; OptionError when the package that writes ONNX is missing.
    """
    own = copy.deepcopy(net).cpu().float().to(memory_format=torch.contiguous_format).eval()
    shapes = SHAPES if size is None else tuple((n, *size) for n in (1, 3))
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise OptionError(
            f"an embedder is exported by {error.name}; install it with: "
            "pip install 'whichlandmark[train]'"
        ) from None
    del onnx, onnxruntime, onnxscript
    with whole_file(path) as temporary:
        try:
            expected = [_rows(own, shape) for shape in shapes]
            _write(own, temporary, shapes[-1], fixed=size is not None)
        except Exception as error:  # the exporter raises dozens of kinds, a backbone its own
            reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
            raise ModelError(
                f"backbone {own.architecture.backbone!r} cannot be written as ONNX ({reason[:200]})"
            ) from None
        _compare(temporary, shapes, expected, path)


def _write(net: EmbeddingNet, path: Path, shape: Sequence[int], *, fixed: bool) -> None:
    free = torch.export.Dim.DYNAMIC
    moving = {0: free} if fixed else {0: free, 2: free, 3: free}
    exported = Exported(net)
    _say_same_padding(exported)
    with _quiet():
        program = torch.onnx.export(
            exported,
            (_pixels(shape),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=["embedding"],
            dynamic_shapes=(moving,),
            optimize=True,
        )
        assert program is not None
        program.save(path, external_data=False)


def _compare(path: Path, shapes: Sequence[Sequence[int]], expected: list[Any], named: Path) -> None:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = [session.run(None, {"pixels": _pixels(s).numpy()})[0] for s in shapes]
    except Exception as error:  # the runtime raises its own kinds, without a common base
        raise ModelError(f"{named}: the exported network does not run ({error})") from None
    off = max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True))
    if not off <= PARITY:
        raise ModelError(
            f"{named}: the exported network differs from torch by {off:.1e}; expected at most "
            f"{PARITY:.0e}; nothing was written"
        )


def _rows(net: EmbeddingNet, shape: Sequence[int]) -> Any:
    with torch.inference_mode():
        return net(_pixels(shape)).numpy()


def _pixels(shape: Sequence[int]) -> Tensor:
    count, height, width = shape
    chance = torch.Generator().manual_seed(height * width)
    return torch.randn(count, 3, height, width, generator=chance)


def _say_same_padding(module: nn.Module) -> None:
    """Replace every convolution with TensorFlow's padding, wherever it stands."""
    for name, child in list(module.named_children()):
        if isinstance(child, Conv2dSame):
            setattr(module, name, SamePadding(child))
        else:
            _say_same_padding(child)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns of its own inner workings; errors still come through."""
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
