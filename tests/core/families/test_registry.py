"""A family of models is one file and one line: everything else asks the registry."""

import io
from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.core.errors import SpecError, WeightsError
from tasks.core.export.exporters import exporter_order, run_exporter
from tasks.core.families import registry
from tasks.core.families.registry import FAMILIES, family_of
from tasks.core.inputs.choice import choose_inputs
from tasks.core.model.building import build_with_weights
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import check, resolve
from tasks.core.weights.sources import find_weights
from tests.models.toy_family import ToyFamily
from tests.services.weights_server import WeightsServer


@pytest.mark.parametrize(
    ("model", "family"),
    [("alexnet", "torchvision"), ("resnet-50", "torchvision"), ("a.b:C", "python"), ("net.py:Net", "python"),
     (":", "python"), (nn.Identity(), "python")],
)  # fmt: skip
def test_a_model_has_the_family_of_its_form(model: object, family: str) -> None:
    """The form of a text decides; whether there is such a model is another question."""
    assert family_of(model).name == family


@pytest.mark.parametrize("model", ["", "net.py", "torch.nn.Linear", nn.Linear, 3, None])
def test_what_no_family_takes_is_told(model: object) -> None:
    """Other text and other objects have no family."""
    with pytest.raises(LookupError):
        family_of(model)


def test_families_are_told_apart_by_name() -> None:
    """A family's name is the kind of its weights, so no two share one, and none is another kind's."""
    names = [family.name for family in FAMILIES]
    assert len({*names, "file", "url", "mlflow", "random", "as-built", "state_dict"}) == len(names) + 6


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, weights_server: WeightsServer) -> ToyFamily:
    """A third family: its one line in the tuple, and its weights on a server."""
    family = ToyFamily()
    family.address = weights_server.address
    monkeypatch.setattr(registry, "FAMILIES", (family, *FAMILIES))
    return family


def test_a_new_family_needs_one_file_and_one_line(toy: ToyFamily, weights_server: WeightsServer, caches: Path) -> None:
    """A toy family is resolved, checked, fetched, built, given inputs and exported as every model is."""
    torch.manual_seed(0)
    state = toy.factory("toy:deep")().state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    weights_server.put("/deep.pth", buffer.getvalue())
    spec = resolve(ExportSpec(model="toy:deep"))
    assert (spec.name, spec.weights, spec.outputs) == ("deep", "small", ("scores",))
    check(spec)
    weights = find_weights(spec, lambda uri: pytest.fail(uri))
    assert (weights.kind, weights.origin) == ("toy", "toy:deep small")
    assert weights.path is not None
    assert weights.path.is_relative_to(caches)
    module, report = build_with_weights(spec, weights)
    assert (report.num_loaded, len(module)) == (6, 3)  # type: ignore[arg-type]
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    inputs = choose_inputs(spec, module)
    assert [str(item) for item in inputs.specs] == ["input=float32[batch=2,8]"]
    order, reason = exporter_order(spec)
    assert (order, reason) == (("torchscript", "dynamo"), "toys are traced")
    graph = run_exporter(order[0], module, inputs, output_names=spec.outputs, opset=20).graph
    assert [value.name for value in graph.graph.outputs] == ["scores"]


def test_a_new_familys_mistakes_are_told_in_its_name(toy: ToyFamily, tmp_path: Path) -> None:
    """Misspelt models get suggestions, unknown weights what there is; files and random weights work as for all."""
    with pytest.raises(SpecError, match=r"'toy:depp' is no catalog entry and no toy model.*did you mean toy:deep"):
        check(resolve(ExportSpec(model="toy:depp")))
    with pytest.raises(WeightsError, match="has no weights 'big'; toy has small"):
        check(resolve(ExportSpec(model="toy:deep", weights="big")))
    torch.save(toy.factory("toy:linear")().state_dict(), tmp_path / "own.pth")
    for given, kind in ((f"{tmp_path}/own.pth", "file"), ("random:3", "random")):
        spec = resolve(ExportSpec(model="toy:linear", weights=given))
        weights = find_weights(spec, lambda uri: pytest.fail(uri))
        assert weights.kind == kind
        build_with_weights(spec, weights)
