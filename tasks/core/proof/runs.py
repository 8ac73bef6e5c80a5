"""The answers to one probe: the file's, and those of the module's runs that they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.arrays import Array


@dataclass(frozen=True)
class OutputRuns:
    """One output's values on one probe, all of one shape."""

    onnx: Sequence[Array]
    """The file's, one an optimisation level."""
    torch32: Array
    """The module's in float32; elements that are not finite here are not compared."""
    perturbed: Sequence[Array]
    """The module's with weights off by one rounding."""
    float64: Array
    """The module's in float64."""


@dataclass(frozen=True)
class Runs:
    """All outputs' values on one probe, in the module's order; those sized by data may differ in length."""

    onnx: Sequence[list[Array]]
    torch32: list[Array]
    perturbed: Sequence[list[Array]]
    float64: list[Array]

    @property
    def others(self) -> list[list[Array]]:
        """The module's runs beside the one in float32."""
        return [self.float64, *self.perturbed]

    def of(self, index: int, perturbed: Sequence[list[Array]]) -> OutputRuns:
        """One output's values.

        Args:
            index: of the output.
            perturbed: those runs that have its shape.
        """
        return OutputRuns(
            onnx=[answer[index] for answer in self.onnx],
            torch32=self.torch32[index],
            perturbed=[answer[index] for answer in perturbed],
            float64=self.float64[index],
        )
