"""A family of models in one file, as CONTRIBUTING.md shows it: `toy:linear` and `toy:deep`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from tasks.core.errors import WeightsError
from tasks.core.families.family import Exporter, Family, NamedWeights

if TYPE_CHECKING:
    from torch import nn


class ToyFamily(Family):
    """Small stacks of linear layers, with weights called `small` on a server."""

    name = "toy"
    syntax = "toy:NAME"
    names_weights = True
    depths: ClassVar = {"toy:linear": 1, "toy:deep": 3}
    address = "https://example.org"

    @override
    def recognises(self, model: object) -> bool:
        """Take what starts with the family's name."""
        return isinstance(model, str) and model.startswith("toy:")

    @override
    def names(self) -> tuple[str, ...]:
        """List both."""
        return tuple(self.depths)

    @override
    def fields(self, model: str) -> dict[str, Any]:
        """Its name without the prefix; the weights called small; a name for its output."""
        return {"name": model.removeprefix("toy:"), "weights": "small", "outputs": ("scores",)}

    @override
    def factory(self, model: str) -> "Callable[..., nn.Module]":
        """Stack layers of 8 features."""
        from torch import nn

        return lambda: nn.Sequential(*(nn.Linear(8, 8) for _ in range(self.depths[model])))

    @override
    def weights(self, model: str, weights: str) -> NamedWeights:
        """Find the file of this name on the server."""
        if weights != "small":
            raise WeightsError(f"{model} has no weights {weights!r}; toy has small.")
        return NamedWeights(origin=f"{model} small", location=f"{self.address}/{model.removeprefix('toy:')}.pth")

    @override
    def default_inputs(self, model: str, module: "nn.Module", parameters: list[str]) -> tuple[str, ...]:
        """Rows of 8 features."""
        return (f"{parameters[0]}=float32[batch,8]",)

    @override
    def exporter_order(self, model: str) -> tuple[tuple[Exporter, ...], str]:
        """The older exporter first."""
        return ("torchscript", "dynamo"), "toys are traced"
