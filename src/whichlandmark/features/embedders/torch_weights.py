"""Create a timm backbone, with random weights, those of the model hub, or those of a local file.

Names are timm's ("resnet50"), "hf-hub:OWNER/NAME" or "local-dir:PATH". Files are read as
safetensors or with torch's `weights_only`, so no code in them is run.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import ssl
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from timm.models import load_state_dict
from torch import Tensor, nn

from ...core.errors import ModelError

# How a file of weights is given to the two verbs that take one.
LOCAL_FILE = "a local file: --checkpoint FILE of `embedder`, --set weights=FILE of `train`"

NEAREST_NAMES = 5  # that the message about an unknown name lists

HUB_TIMEOUT = 5.0  # seconds to wait for the hub's first answer; its own client retries for 50

# What published files hold beside a backbone: heads of the pretraining, and tables that timm
# computes anew.
LEFTOVERS = {"head", "head_dist", "mask_token", "proj", "logit_scale", "logit_bias"}
BUFFERS = {"relative_position_index", "relative_coords_table", "attn_mask", "num_batches_tracked"}


@dataclass(frozen=True)
class Backbone:
    """A created backbone, and the name and options from which timm rebuilds it without the hub.

    classifier: (weight, bias) of the linear classifier, if it was asked for and there is one.
    """

    module: nn.Module
    name: str
    options: dict[str, Any]
    classifier: tuple[Tensor, Tensor] | None = None


def create_backbone(name: str, options: dict[str, Any]) -> nn.Module:
    """A backbone of one of timm's names, without classifier, with random weights."""
    _check_name(name)
    return _create(name, options | {"num_classes": 0}, {})


def open_backbone(
    name: str,
    options: dict[str, Any],
    checkpoint: Path | None = None,
    *,
    any_size: bool = False,
    with_classifier: bool = False,
) -> Backbone:
    """A backbone with pretrained weights, without classifier.

    checkpoint: a local file of weights; None = the weights of the name.
    any_size: also lets a transformer take photos of any size, where timm can do that.
    with_classifier: return the classifier of 1,000 classes as well.
    Raises ModelError for an unknown name, a file that is missing or does not fit, and when the hub
    cannot be reached.
    """
    source, timm_name, config, options = _resolve(name, options)
    from_timm = source is None and checkpoint is None  # timm loads the weights that it names
    if from_timm and not timm.get_pretrained_cfg(timm_name).has_weights:
        raise ModelError(f"timm knows no published weights of {name!r}; give {LOCAL_FILE}")
    settings: dict[str, Any] = {"pretrained": from_timm}
    if config is not None:
        settings["pretrained_cfg"] = config
    classes: dict[str, Any] = {"num_classes": 1000 if with_classifier else 0}
    if with_classifier and from_timm:
        classes = {}  # as many as its weights have
    if any_size and not {"dynamic_img_size", "strict_img_size"} & options.keys():
        options = options | {"dynamic_img_size": True}
    try:
        module = _create(timm_name, options | classes, settings)
    except ModelError as error:
        if not (any_size and "unexpected keyword argument 'dynamic_img_size'" in str(error)):
            raise
        options = {key: value for key, value in options.items() if key != "dynamic_img_size"}
        module = _create(timm_name, options | classes, settings)
    has_classifier = with_classifier
    if checkpoint is not None:
        has_classifier = _load(module, _read_file(checkpoint), str(checkpoint), timm_name)
    elif source == "local-dir":
        path = _weights_file(Path(name.partition(":")[2]))
        has_classifier = _load(module, _read_file(path), str(path), timm_name)
    elif source == "hf-hub":
        with _model_hub(name):
            weights = timm.models.load_state_dict_from_hf(name.partition(":")[2], weights_only=True)
        has_classifier = _load(module, weights, name, timm_name)
    classifier = _take_classifier(module) if with_classifier else None
    return Backbone(module, timm_name, options, classifier if has_classifier else None)


def _resolve(
    name: str, options: dict[str, Any]
) -> tuple[str | None, str, dict[str, Any] | None, dict[str, Any]]:
    """(source, timm's name, the weights' config if the source has one, options) of a name."""
    from timm.models import _hub

    prefix, colon, address = name.partition(":")
    if not colon:
        _check_name(name)
        return None, name, None, options
    source = {"hf_hub": "hf-hub"}.get(prefix, prefix)
    if source not in ("hf-hub", "local-dir") or not address:
        raise ModelError(
            f"backbone {name!r} given; expected a name of timm, hf-hub:OWNER/NAME or local-dir:PATH"
        )
    try:
        if source == "hf-hub":
            with _model_hub(name):
                config, timm_name, arguments = _hub.load_model_config_from_hf(address)
        else:
            config, timm_name, arguments = _hub.load_model_config_from_path(address)
        # Settings of these weights that timm's own defaults for the name do not have.
        if config.get("fixed_input_size") and "input_size" in config:
            arguments = {"img_size": list(config["input_size"][1:])} | arguments
        if config.get("global_pool"):
            arguments = {"global_pool": config["global_pool"]} | arguments
        config = {key: value for key, value in config.items() if key not in ("source", "file")}
    except ModelError:
        raise
    except FileNotFoundError:
        raise ModelError(f"{address}: no config.json in this folder; expected timm's") from None
    except Exception as error:  # whatever is wrong in a foreign config.json
        raise ModelError(
            f"{name}: config.json is not one of timm ({type(error).__name__}: {_line(error)})"
        ) from None
    _check_name(timm_name)
    arguments.pop("num_classes", None)
    return source, timm_name, config, arguments | options


def _check_name(name: str) -> None:
    """Raises ModelError, with the nearest names, unless timm knows the name and its tag."""
    base, dot, _ = name.partition(".")
    if "/" in name:
        raise ModelError(
            f"backbone {name!r} given; expected hf-hub:{name} for a model of the hub, or "
            f"local-dir:{name} for a folder"
        )
    if not timm.is_model(name):
        kind, known, given = "timm backbone", timm.list_models(), base
    elif dot and not _knows_tag(name):
        kind, known, given = f"weights of {base!r}", timm.list_pretrained(f"{base}.*"), name
    else:
        return
    near = difflib.get_close_matches(given, known, n=NEAREST_NAMES, cutoff=0.0)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "there are none"
    raise ModelError(f"unknown {kind}: {name!r}; {hint}")


def _knows_tag(name: str) -> bool:
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False) is not None
    except RuntimeError:  # "invalid pretrained tag"
        return False


def _create(name: str, options: dict[str, Any], settings: dict[str, Any]) -> nn.Module:
    try:
        with _model_hub(name) if settings.get("pretrained") else contextlib.nullcontext():
            model: nn.Module = timm.create_model(name, **settings, **options)
    except ModelError:
        raise
    except Exception as error:  # constructors raise many kinds of error on options
        ours = ("num_classes", "dynamic_img_size")  # not given by the user
        given = {key: value for key, value in options.items() if key not in ours}
        raise ModelError(
            f"backbone {name!r} with options {given} cannot be built: {_line(error)}"
        ) from None
    return model


@contextlib.contextmanager
def _model_hub(name: str) -> Iterator[None]:
    """Downloads within it use the cache alone, without long retries, when the hub is not reached.

    Raises ModelError for what cannot be fetched.
    """
    from huggingface_hub import constants

    was_offline = constants.HF_HUB_OFFLINE
    reached = not was_offline and _answers(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = not reached
    try:
        yield
    except OSError as error:  # all errors of the hub's client are
        reason = "it does not answer"
        if was_offline:
            reason = "HF_HUB_OFFLINE is set"
        elif reached:
            reason = _line(error)
        local = "timm:local-dir:PATH" if ":" in name else LOCAL_FILE
        raise ModelError(
            f"weights of {name!r} could not be fetched from the model hub ({reason}); "
            f"connect, or give {local}"
        ) from None
    finally:
        constants.HF_HUB_OFFLINE = was_offline


def _answers(address: str) -> bool:
    """Whether a server answers at all, be it with an error; proxies are used as configured."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub's client has its own certificates
    except OSError:
        return False
    return True


def _weights_file(folder: Path) -> Path:
    """The file of weights in a folder that timm saved for the hub."""
    for pattern in ("model.safetensors", "*.safetensors", "*.bin", "*.pth"):
        if found := sorted(folder.glob(pattern)):
            return found[0]
    raise ModelError(f"{folder}: no weights in this folder; expected model.safetensors")


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint file")
    try:
        weights = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # safetensors and torch raise many kinds of error on a damaged file
        raise ModelError(f"{path}: not readable as weights ({_line(error)})") from None
    if not isinstance(weights, dict) or not any(isinstance(v, Tensor) for v in weights.values()):
        raise ModelError(f"{path}: not readable as weights (it holds no tensors by name)")
    return weights


def _load(module: nn.Module, weights: dict[str, Any], where: str, name: str) -> bool:
    """Load weights, in timm's layout or one that timm converts, for another image size too.

    Returns whether the classifier's weights were among them. Raises ModelError when a layer of the
    backbone is missing, or a layer is left over that is not of a pretraining's head.
    """
    own = module.state_dict()
    problems: list[tuple[list[str], list[str]]] = []
    for candidate in _layouts(module, weights):
        fitting = {
            key: value
            for key, value in candidate.items()
            if key in own and isinstance(value, Tensor) and value.shape == own[key].shape
        }
        missing = [key for key in own if key not in fitting and not _is_optional(module, key)]
        unused = [key for key in candidate if key not in fitting and not _is_leftover(module, key)]
        if not (missing or unused):
            module.load_state_dict(fitting, strict=False)
            return all(key in fitting for key in own if _is_classifier(module, key))
        problems.append((missing, unused))
    missing, unused = min(problems, key=lambda problem: len(problem[0]) + len(problem[1]))
    raise ModelError(
        f"{where}: these are not the weights of {name!r}: {len(missing)} layers missing, "
        f"{len(unused)} that do not fit (first: {', '.join((missing + unused)[:3])}); "
        "name the backbone, and the options, that the file was made for"
    )


def _layouts(module: nn.Module, weights: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The weights as timm's own function for this backbone converts them, then as they are.

    That function knows the layouts of the makers' files (DINOv2, OpenCLIP …), and resamples
    positions for another image size.
    """
    for cls in type(module).__mro__:
        code = sys.modules[cls.__module__]
        convert = getattr(code, "checkpoint_filter_fn", getattr(code, "_filter_fn", None))
        if convert is None:
            continue
        parameters = inspect.signature(convert).parameters
        extra = {"adapt_layer_scale": True} if "adapt_layer_scale" in parameters else {}
        takes_model = [module] if "model" in parameters else []
        converted = None
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's resampling warns about itself
            converted = convert(dict(weights), *takes_model, **extra)
        if converted is not None:  # None: it failed, as on a file of another backbone
            yield converted
        break
    yield weights


def _is_classifier(module: nn.Module, key: str) -> bool:
    """Whether a weight belongs to the classifier, which the network does not use."""
    classifier: Any = module.default_cfg.get("classifier") or "classifier"  # type: ignore[operator,union-attr]
    layers = [classifier] if isinstance(classifier, str) else list(classifier)
    return key.startswith(tuple(f"{layer}." for layer in layers))


def _is_optional(module: nn.Module, key: str) -> bool:
    """Whether a file may lack a key of the backbone: its classifier, or a computed table."""
    return _is_classifier(module, key) or key.rpartition(".")[2] in BUFFERS


def _is_leftover(module: nn.Module, key: str) -> bool:
    """Whether a key of a file may be ignored: one that is optional, or a head of pretraining."""
    return _is_optional(module, key) or key.partition(".")[0] in LEFTOVERS


def _take_classifier(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """(weight, bias) of a linear classifier, which is removed from the backbone."""
    layer: Any = module.get_classifier()  # type: ignore[operator]
    found = None
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        found = layer.weight.detach().clone(), layer.bias.detach().clone()
    module.reset_classifier(0)  # type: ignore[operator]
    return found


def _line(error: BaseException) -> str:
    """The first line of an error's message, for a message of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
