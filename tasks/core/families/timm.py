"""Models of timm, by the names that it gives them: `timm:convnextv2_atto`, `timm:resnet50.a1_in1k`."""

import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tasks.core.errors import SpecError, WeightsError, one_line
from tasks.core.families.family import Exporter, Family, NamedWeights
from tasks.core.network.hub import HubWeights, cached_models, hub_model
from tasks.core.records.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"
_OPEN_CLIP = "open_clip_pytorch_model.bin"
_BUILDER = re.compile(r"^@register_model\ndef (\w+)\(", re.MULTILINE)
_TAGGED = re.compile(r"^ {4}[\"'](\w+\.[\w.-]+?)\*?[\"']: ?\w+\(", re.MULTILINE)
_SAME = ("Conv2dSame", "AvgPool2dSame", "MaxPool2dSame", "StdConv2dSame", "ScaledStdConv2dSame")
"""Classes of timm that pad as TensorFlow does: by so much as the size of the picture asks for."""
_MULTIPLES = ("cpubone.ConvAttention", "mobilevit.MobileVitBlock", "mobilevit.MobileVitV2Block")
"""Classes of timm, by file, that look whether the size of their features is a multiple of their blocks' or strides'."""
_SIZED = ("csatv2.SpatialAttention", "halo_attn.HaloAttn")
"""Classes of timm whose pooling or windows both exporters write for features of one known size only."""


class TimmFamily(Family):
    """Every model that `timm.list_models` lists, with or without the tag of its weights."""

    name = "timm"
    syntax = "timm:NAME[.TAG]"
    packages = ("timm",)
    names_weights = True

    @override
    def recognises(self, model: object) -> bool:
        return isinstance(model, str) and model.startswith(PREFIX)

    @override
    def fields(self, model: str) -> dict[str, Any]:
        """Named without its prefix; input and output as Optimum calls them."""
        name = re.sub(r"[^\w-]", "_", model.removeprefix(PREFIX))
        if not name:
            raise SpecError(f"{model} names no model; write {self.syntax}, e.g. timm:resnet18.")
        return {"name": name, "weights": "DEFAULT", "input_names": ("pixel_values",), "outputs": ("logits",)}

    @override
    def text_of(self, model: str) -> str:
        return model

    @override
    def names(self) -> tuple[str, ...]:
        """Both the architectures and those with the tag of their weights."""
        return _names()

    @override
    def lists(self, model: str) -> bool:
        """The architecture decides: some tags only timm's own code can tell."""
        return not self.names() or model.partition(".")[0] in self.names()

    @override
    def has_weights(self, model: str) -> bool:
        """Those whose tags timm's sources name."""
        return model.removeprefix(PREFIX).partition(".")[0] in _trained()

    @override
    def has_weights_here(self, model: str) -> bool:
        """Are the weights of a tag in the cache of the hub's library?"""
        return f"timm/{model.removeprefix(PREFIX)}" in cached_models()

    @override
    def factory(self, model: str) -> "Callable[..., nn.Module]":
        """What timm's own `create_model` makes, without a download."""
        if importlib.util.find_spec("timm") is None:
            raise SpecError(f"{model} needs timm, which is not installed; pip install -e '.[timm]'.")
        return functools.partial(_create, model.removeprefix(PREFIX))

    @override
    def weights(self, model: str, weights: str) -> NamedWeights:
        """Those of the pretrained config: on the hub, where timm itself looks first, or at a URL."""
        config = _pretrained_config(model)
        if weights != "DEFAULT":
            raise WeightsError(f"{model} has no weights {weights!r}; give DEFAULT (timm's), a file or random.")
        if not (config.hf_hub_id or config.url):
            raise WeightsError(f"timm has no weights of {model}; give a file or random, or another tag in its name.")
        if not config.hf_hub_id:
            return NamedWeights(origin=config.url, location=config.url, path_argument="file")
        there = hub_model(config.hf_hub_id)
        if there is None:
            raise WeightsError(f"timm's weights of {model} are at {config.hf_hub_id!r}, which is no model of the hub.")
        location = HubWeights(model=there, files=_files(config.hf_hub_filename or ""))
        return NamedWeights(origin=there.repo, location=location, path_argument="file")

    @override
    def usual_sizes(self, model: str, module: "nn.Module") -> dict[str, int]:
        """Height and width in pixels, as the weights were trained at, or as it was built for."""
        _, height, width = _input_size(module)
        return {"height": height, "width": width}

    @override
    def default_inputs(self, model: str, module: "nn.Module", parameters: list[str]) -> tuple[str, ...]:
        """One picture, of any height and width where the model takes them."""
        channels, height, width = _input_size(module)
        sides = f"{height},{width}" if _why_static(module) else f"height={height},width={width}"
        return (f"{parameters[0]}=float32[batch_size,{channels},{sides}]",)

    @override
    def loading_notes(self, module: "nn.Module") -> tuple[str, ...]:
        """Why height and width are static, where they are."""
        return (f"static: height and width, as {why}",) if (why := _why_static(module)) else ()

    @override
    def preprocessing(self, model: str, module: "nn.Module") -> Preprocessing:
        """As the pretrained config has it: a picture is resized so that the crop has this share of its side."""
        config: Any = getattr(module, "pretrained_cfg", {})
        sides, share = _input_size(module)[1:], config.get("crop_pct") or 1.0
        return Preprocessing(
            labels=tuple(config.get("label_names") or ()),
            resize=tuple(int(side / share) for side in sides),
            crop=sides,
            interpolation=config.get("interpolation") or "",
            mean=tuple(config.get("mean") or ()),
            std=tuple(config.get("std") or ()),
        )

    @override
    def exporter_order(self, model: str) -> tuple[tuple[Exporter, ...], str]:
        return ("torchscript", "dynamo"), "timm models: same proof, 2 to 10 times faster"


def _create(name: str, *, file: Path | None = None, **options: Any) -> "nn.Module":
    """A model as timm makes it; with a file, loaded with these weights as timm loads its own.

    Raises:
        WeightsError: it is to have another number of classes than the weights.
    """
    import timm

    if file is None:
        unloaded: nn.Module = timm.create_model(name, pretrained=False, **options)
        return unloaded
    overlay = {"file": str(file), "custom_load": file.suffix == ".npz"}  # what is on the hub is in timm's own form
    built: nn.Module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    config: Any = getattr(built, "pretrained_cfg", {})
    known, wanted = config.get("num_classes"), options.get("num_classes", 0)
    if wanted not in (0, known):
        raise WeightsError(
            f"The weights of {name} tell {known} classes, and a head for {wanted} would have random ones; give a file "
            f"that was trained for them, or num_classes 0 for no head."
        )
    return built


def _pretrained_config(model: str) -> Any:
    """What timm knows of the weights of a name, the default tag's if it has none.

    Raises:
        SpecError: timm has no such tag.
    """
    from timm.models import get_pretrained_cfg

    try:
        return get_pretrained_cfg(model.removeprefix(PREFIX), allow_unregistered=False)
    except RuntimeError as error:
        raise SpecError(f"{model} is no model of timm: {one_line(error)}; --list '{PREFIX}*' has them.") from error


def _files(name: str) -> tuple[str, ...]:
    """Where timm looks for weights that it has under a name of their own: first for what was made of it."""
    return ("open_clip_model.safetensors", name) if name == _OPEN_CLIP else (name,) if name else ()


@functools.cache
def _names() -> tuple[str, ...]:
    """Read from timm's sources as text: importing them takes seconds."""
    package = importlib.util.find_spec("timm")
    if package is None or package.origin is None:
        return ()
    sources = [path.read_text(encoding="utf-8") for path in (Path(package.origin).parent / "models").glob("*.py")]
    built = {name for source in sources for name in _BUILDER.findall(source)}
    tagged = {name for source in sources for name in _TAGGED.findall(source) if name.partition(".")[0] in built}
    return tuple(PREFIX + name for name in sorted(built | tagged) if not name.endswith(".untrained"))


@functools.cache
def _trained() -> frozenset[str]:
    """Architectures of which there are weights."""
    return frozenset(name.removeprefix(PREFIX).partition(".")[0] for name in _names() if "." in name)


def _input_size(module: "nn.Module") -> tuple[int, int, int]:
    """Channels, height and width."""
    config: Any = getattr(module, "pretrained_cfg", {})
    channels, *sides = config.get("input_size", (3, 224, 224))
    built = getattr(getattr(module, "patch_embed", None), "img_size", None)
    height, width = built if isinstance(built, tuple) else sides
    return channels, height, width


def _why_static(module: "nn.Module") -> str:
    """Why a model takes pictures of one size only; empty: it takes any."""
    config: Any = getattr(module, "pretrained_cfg", {})
    if config.get("fixed_input_size"):
        return "timm builds the model for one size (fixed_input_size)"
    kinds = {type(part) for part in module.modules()}
    filed = {f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}" for kind in kinds}
    if not filed.isdisjoint(_SIZED):
        return "an operator of it is exported for features of one known size only"
    if not filed.isdisjoint(_MULTIPLES):
        return "features are padded or resized where their size is no multiple of a block's, and a graph keeps one way"
    if any(kind.__name__ in _SAME for kind in kinds):
        return "padding as TensorFlow's depends on the size, and tracing freezes it at the traced one"
    return ""
