"""Arguments of forward that are no tensors, and outputs that are left out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tasks.core.errors import SpecError
from tasks.core.model.borrowing import borrowed
from tasks.core.model.building import build_with_weights
from tasks.core.records.steps import Weights
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import Exported, exported

X = ("x=float32[batch,6]",)


class Options(nn.Module):
    """Has a required switch, an optional number, and a mask that it passes through."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor, doubled: bool, *, power: int = 1) -> dict[str, torch.Tensor]:
        """Depend on all three."""
        scores = self.linear(x) ** power
        scores = scores * 2 if doubled else scores
        return {"scores": scores, "mask": torch.ones_like(x[:, :1]), "x": x}


def exported_with(folder: Path, model: nn.Module, **fields: Any) -> Exported:
    """Build as the step does, export."""
    spec = resolve(ExportSpec(model=model, name="options", inputs=X, weights="as-built", **fields))
    network, _ = build_with_weights(spec, Weights(kind="as-built", origin="as-built"))
    return exported(network, X, folder, **fields)


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.slow)])
def test_what_is_given_to_forward_and_taken_from_it(exporter: str, tmp_path: Path) -> None:
    """The file computes what forward gives with these arguments, and has the chosen outputs in their order."""
    model = Options()
    fields = {"forward_kwargs": {"doubled": True, "power": 2}, "outputs": ("x", "scores"), "exporter": exporter}
    spec = resolve(ExportSpec(model=model, name="options", inputs=X, **fields))
    with borrowed(spec):
        file = exported_with(tmp_path, model, **fields)
        evidence = file.prove()
        assert evidence.verdict == "pass", evidence.reasons
        assert [output.name for output in file.graph.outputs] == ["x_out", "scores"]
        x = torch.randn(3, 6)
        assert torch.equal(model(x)["scores"], (model.linear(x) ** 2) * 2)
    assert not model._forward_hooks
    assert "forward" not in vars(model)


def test_an_output_that_never_moves_can_be_left_out(tmp_path: Path) -> None:
    """The mask makes the verdict inconclusive; without it the file passes."""
    whole = exported_with(tmp_path, Options(), forward_kwargs={"doubled": False}, exporter="torchscript").prove()
    assert whole.verdict == "inconclusive"
    fields = {"forward_kwargs": {"doubled": False}, "outputs": ("scores",), "exporter": "torchscript"}
    chosen = exported_with(tmp_path, Options(), **fields).prove()
    assert chosen.verdict == "pass", chosen.reasons
    assert [output.name for output in chosen.outputs] == ["scores"]


def test_other_names_are_given_in_order(tmp_path: Path) -> None:
    """Names that the module does not have are new ones, of which each output needs one."""
    fields = {"forward_kwargs": {"doubled": False}, "exporter": "torchscript"}
    file = exported_with(tmp_path, Options(), outputs=("a", "b", "c"), **fields)
    assert [output.name for output in file.graph.outputs] == ["a", "b", "c"]
    with pytest.raises(SpecError, match="name each, or choose some by these names"):
        exported_with(tmp_path, Options(), outputs=("a",), **fields)


def test_an_argument_that_forward_lacks_is_named(tmp_path: Path) -> None:
    """One sentence with the parameters that there are."""
    with pytest.raises(SpecError, match="has depth, which is no parameter of forward; it has x, doubled, power"):
        exported_with(tmp_path, Options(), forward_kwargs={"depth": 3})
