"""Dynamic dimensions are dynamic in the file, and what the file says of them is told."""

from pathlib import Path

import pytest

from tasks.core.inputs.probes import Probe
from tasks.core.proof.plan import Plan
from tasks.core.proof.verdict import _dims_held_equal, _prove_dims
from tasks.core.records.steps import Graph, TensorType
from tasks.core.spec.input_spec import InputSpec

SPECS = tuple(InputSpec.parse(text) for text in ("ids=float32[batch=2,length=8]", "mask=float32[batch=2,other=8]"))
PROBES = tuple(Probe(family="normal", seed=i, sizes={"batch": 2, "length": size}) for i, size in enumerate((8, 13, 8)))


def _plan(*dims: tuple[int | str, ...], **changes: object) -> Plan:
    names = ("ids", "mask")[: len(dims)]
    graph = Graph(
        path=Path("model.onnx"), sha256="0" * 64, size_bytes=1, opset=20, num_nodes=1, exporter="other",
        exporter_reason="", outputs=(),
        inputs=tuple(TensorType(name=n, dtype="float32", dims=d) for n, d in zip(names, dims, strict=True)),
    )  # fmt: skip
    return Plan(graph=graph, specs=SPECS, probes=PROBES, **changes)  # type: ignore[arg-type]


def test_each_dimension_has_the_sizes_at_which_it_was_compared() -> None:
    """One proof for each that was asked for, with what the module refuses."""
    plan = _plan(("batch", "length"), ("batch", "other"), refused={"length": (9,)})
    proofs = {(proof.input, proof.name): proof for proof in _prove_dims(plan, PROBES[:2])}
    assert proofs["ids", "length"].sizes == (8, 13)
    assert proofs["ids", "length"].refused_by_model == (9,)
    assert proofs["ids", "batch"].sizes == (2,)
    assert proofs["mask", "other"].sizes == ()
    assert all(proof.in_file for proof in proofs.values())


@pytest.mark.parametrize("dims", [("batch", 8), ("batch",)])
def test_a_dimension_that_the_file_fixes_or_lacks_is_not_dynamic(dims: tuple[int | str, ...]) -> None:
    """A number in its place, or fewer dimensions."""
    assert [proof.in_file for proof in _prove_dims(_plan(dims), PROBES)] == [True, False]


def test_an_input_that_the_file_lacks_has_nothing_to_prove() -> None:
    """And one under another name is found by that name."""
    assert [proof.input for proof in _prove_dims(_plan(("batch", "length")), PROBES)] == ["ids", "ids"]
    plan = _plan(("batch", "length"), file_inputs={"mask": "ids", "ids": "gone"})
    assert [proof.input for proof in _prove_dims(plan, PROBES)] == ["mask", "mask"]


def test_two_dimensions_under_one_name_are_told() -> None:
    """A file that says that two dims are equal does not do what was asked, where they differ."""
    held = [*_dims_held_equal(_plan(("batch", "s1"), ("batch", "s1")))]
    assert held == ["the file says that length and other must be equal (both are s1)"]
    assert [*_dims_held_equal(_plan(("batch", "s1"), ("batch", "s2")))] == []
    assert [*_dims_held_equal(_plan(("?", "?"), ("?", "?")))] == []
