"""Two exports side by side: each difference once, in words and numbers."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tasks.core.onnx_files.reading import read_graph
from tasks.core.provenance.attempts import PastExport
from tasks.core.provenance.comparison import compare
from tasks.core.records.comparison import Change, ContractChange
from tasks.core.records.steps import Release, Weights
from tests.core.reports.report_records import make_evidence, make_manifest


def make_version(number: int, operators: tuple[str, ...], *, output: str, origin: str, folder: Path) -> PastExport:
    """A version whose file is a chain of these operators."""
    names = ["x", *(f"v{place}" for place in range(1, len(operators))), output]
    nodes = [helper.make_node(name, [names[place]], [names[place + 1]]) for place, name in enumerate(operators)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", output)]
    path = folder / f"{number}.onnx"
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return PastExport(
        manifest=make_manifest(versions={"torch": f"2.1{number}.0"}),
        graph=read_graph(path),
        evidence=make_evidence(),
        release=Release(run_id="0", model_uri=f"models:/net/{number}"),
        weights=Weights(kind="file", origin=origin),
    )


@pytest.fixture
def versions(tmp_path: Path) -> tuple[PastExport, PastExport]:
    """The second has one operator more, another output, other weights and another PyTorch."""
    first = make_version(3, ("Exp", "Neg"), output="y", origin="a.pth", folder=tmp_path)
    return first, make_version(4, ("Exp", "Neg", "Neg", "Abs"), output="scores", origin="b.pth", folder=tmp_path)


def test_every_difference_is_told(versions: tuple[PastExport, PastExport]) -> None:
    """What it was made from, the contract, operators, size, and how far the outputs are apart."""
    first, second = versions
    found = compare(first, second, (first.graph.path, second.graph.path))
    assert (found.before, found.now) == ("models:/net/3", "models:/net/4")
    assert found.changes[:2] == (
        Change(kind="packages", name="torch 2.13.0 -> 2.14.0", before="2.13.0", now="2.14.0"),
        Change(kind="weights", name="origin of the weights", before="a.pth", now="b.pth"),
    )
    assert [(change.kind, change.name) for change in found.changes[2:]] == [("file", "size"), ("file", "nodes")]
    assert found.contract == (
        ContractChange(word="outputs", before=("y: float32[batch, 3]",), now=("scores: float32[batch, 3]",)),
    )
    assert found.operators == {"Abs": (0, 1), "Neg": (1, 2)}
    assert found.size_bytes[0] < found.size_bytes[1]
    assert [output.relative_rms for output in found.drift.outputs] == [2.0]


def test_a_version_differs_from_itself_in_nothing(versions: tuple[PastExport, PastExport]) -> None:
    """All that is left is that its outputs are equal."""
    found = compare(versions[0], versions[0], (versions[0].graph.path,) * 2)
    assert (found.changes, found.contract, found.operators) == ((), (), {})
    assert [output.largest for output in found.drift.outputs] == [0.0]
