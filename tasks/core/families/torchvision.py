"""Models of torchvision, by the names that it gives them: `alexnet`, `resnet50`."""

import contextlib
import fnmatch
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from typing_extensions import override

from tasks.core.errors import WeightsError
from tasks.core.families.family import Exporter, Family, NamedWeights
from tasks.core.families.torchvision_sources import default_weights
from tasks.core.records.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

RECIPES_FILE = Path(__file__).with_name("torchvision_recipes.yaml")


class TorchvisionFamily(Family):
    """Every model that `torchvision.models.list_models` lists."""

    name = "torchvision"
    syntax = "torchvision name"
    packages = ("torchvision",)
    names_weights = has_known_sizes = True

    @override
    def recognises(self, model: object) -> bool:
        return isinstance(model, str) and re.fullmatch(r"[\w-]+", model) is not None

    @override
    def fields(self, model: str) -> dict[str, Any]:
        return {**recipe_for(model), "name": model, "weights": "DEFAULT"}

    @override
    def names(self) -> tuple[str, ...]:
        return tuple(default_weights())

    @override
    def has_weights_here(self, model: str) -> bool:
        """Do the DEFAULT weights lie where torchvision keeps its downloads?"""
        name = default_weights().get(model, "").rpartition("/")[2]
        return name != "" and (download_folder() / name).is_file()

    @override
    def factory(self, model: str) -> "Callable[..., nn.Module]":
        """Find torchvision's builder; it fetches no backbone of its own accord."""
        from torchvision import models

        builder = models.get_model_builder(model)
        takes_backbone = "weights_backbone" in inspect.signature(builder).parameters
        return functools.partial(builder, weights_backbone=None) if takes_backbone else builder

    @override
    def weights(self, model: str, weights: str) -> NamedWeights:
        """Find a member of the weights enum: `DEFAULT`, `IMAGENET1K_V1`, `ResNet50_Weights.DEFAULT`."""
        member = _member(model, weights)
        transforms = member.transforms()
        fields = {"resize": "resize_size", "crop": "crop_size", "mean": "mean", "std": "std"}
        return NamedWeights(
            origin=str(member),
            location=member.url,
            folder=download_folder(),
            folder_variable="TORCH_HOME",
            arguments={"weights": member},  # a builder takes the number of classes from it, too
            preprocessing=Preprocessing(
                labels=tuple(member.meta.get("categories", ())),
                interpolation=getattr(getattr(transforms, "interpolation", None), "value", ""),
                **{field: tuple(getattr(transforms, name, None) or ()) for field, name in fields.items()},
            ),
        )

    @override
    def fixes_weights(self, model: str) -> bool:
        return True

    @override
    def name_of_file(self, model: str, file: str, sha256: str) -> str:
        """A member of the enum whose URL ends with this name, or has the first digits of this SHA-256 in it."""
        from torchvision import models

        for member in models.get_model_weights(model):
            name = member.url.rpartition("/")[2]
            digits = re.search(r"[-_]([0-9a-f]{8,})\.pth$", name)
            if name == file or (digits and sha256.startswith(digits[1])):
                return str(member)
        return ""

    @override
    @contextlib.contextmanager
    def loading(self, named: NamedWeights, read: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
        """Let the builder take the tensors from here, rather than unpickle the file of torch.hub's folder."""
        member = named.arguments["weights"]
        member.get_state_dict = lambda *_, **__: read()
        try:
            yield
        finally:
            del member.get_state_dict

    @override
    def usual_sizes(self, model: str, module: "nn.Module") -> dict[str, int]:
        """Height and width in pixels: what the built module fixes, else the crop of its DEFAULT weights."""
        size = getattr(module, "image_size", None)
        if not isinstance(size, int):
            from torchvision import models

            preprocess: Any = models.get_model_weights(model)["DEFAULT"].transforms()
            values = (getattr(preprocess, name, None) for name in ("crop_size", "resize_size"))
            squares = [v[0] for v in values if isinstance(v, list) and len(v) == 1]
            size = squares[0] if squares and not hasattr(preprocess, "min_temporal_size") else None
        return {} if size is None else {"height": int(size), "width": int(size)}

    @override
    def default_inputs(self, model: str, module: "nn.Module", parameters: list[str]) -> tuple[str, ...]:
        """One picture of the usual size, with a dynamic batch."""
        sizes = self.usual_sizes(model, module)
        return (f"{parameters[0]}=float32[batch,3,{sizes['height']},{sizes['width']}]",) if sizes else ()

    @override
    def exporter_order(self, model: str) -> tuple[tuple[Exporter, ...], str]:
        """TorchScript first; docs/decisions/1-exporter-order.md has the figures."""
        return ("torchscript", "dynamo"), "torchvision models: same proof, 2 to 10 times faster"

    @override
    def gflop(self, model: str) -> float:
        """The `_ops` that torchvision notes beside its weights."""
        from torchvision import models

        return max((float(m.meta.get("_ops", 0.0)) for m in models.get_model_weights(model)), default=0.0)


def models_of_file(file: str) -> list[str]:
    """The models that torchvision publishes a file of this base name for."""
    return [name for name in TorchvisionFamily().names() if TorchvisionFamily().name_of_file(name, file, "")]


def recipe_for(name: str) -> dict[str, Any]:
    """Fields of ExportSpec that a model needs besides its name; of the first recipe that matches it, or none."""
    recipes = (recipe for recipe in read_recipes() if any(fnmatch.fnmatchcase(name, glob) for glob in recipe["models"]))
    return {key: value for key, value in next(recipes, {}).items() if key != "models"}


@functools.cache
def read_recipes() -> tuple[dict[str, Any], ...]:
    """All recipes, in their order."""
    return tuple(yaml.safe_load(RECIPES_FILE.read_text(encoding="utf-8")))


def download_folder() -> Path:
    """Folder in which torch.hub and torchvision keep their downloads."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(base) / "torch")
    return torch_home.expanduser() / "hub" / "checkpoints"


def _member(model: str, name: str) -> Any:
    """The member of the model's weights enum; one that no exporter can do with is refused."""
    from torchvision import models

    enum = models.get_model_weights(model)
    member = getattr(enum, name.rpartition(".")[2], None)
    if not isinstance(member, enum):
        known = ", ".join(m.name for m in enum)
        raise WeightsError(f"{model} has no weights {name!r}; torchvision has {known}, or give a file, URL or random.")
    if "backend" in member.meta:
        raise WeightsError(
            f"{model}'s weights {member.name} are int8 tensors for PyTorch's own kernels ({member.meta['backend']}), "
            f"which no exporter turns into ONNX; give --weights random, or export the float model by its own name."
        )
    return member
