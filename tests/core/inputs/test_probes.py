"""Probes cover families, sizes and levels, stay within what was declared, and repeat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe, draw, plan_probes
from tasks.core.runtime.passes import LEVELS
from tasks.core.spec.input_spec import Dim, InputSpec
from tests.core.inputs.choosing import Echo, chosen

DTYPES = ["float32[batch,3]", "float32[batch,3]@-0.1..0.1", "float16[batch,3]@0..1", "float64[batch,3]@5..5",
          "bfloat16[batch,3]@-1..1", "int64[batch,3]@0..103", "int32[batch,3]@-5..5",
          "int64[batch,3]@0..9007199254740992",
          "uint8[batch,3]", "int8[batch,3]", "uint8[batch,3]@3..4", "bool[batch,3]", "bool[batch,3]@0..0",
          "bool[batch,3]@1..1"]  # fmt: skip


@pytest.mark.parametrize("text", DTYPES)
def test_probes_stay_in_the_declared_range(text: str) -> None:
    """No family leaves an input's range or dtype; zeros are its low end, but for the first element of a mask."""
    spec = InputSpec.parse(f"x={text}")
    dtype = "float32" if spec.dtype == "bfloat16" else spec.dtype
    for family in ("normal", "range", "wide", "zeros"):
        for seed in range(4):
            array = draw((spec,), Probe(family=family, seed=seed, sizes={"batch": 50}))["x"]
            assert str(array.dtype) == dtype
            assert np.isfinite(array.astype("float64")).all()
            if spec.value_range:
                low, high = np.array(spec.value_range).astype(dtype)
                assert low <= array.min()
                assert array.max() <= high
                rest = array[..., 1:] if dtype == "bool" else array  # a mask keeps its first element
                assert family != "zeros" or (rest == low).all()


@given(st.data())
@settings(max_examples=60)
def test_probes_stay_in_any_declared_range(data: st.DataObject) -> None:
    """Whatever range and size are declared, probes stay within them."""
    whole = data.draw(st.booleans())
    ends = st.integers(-(2**40), 2**40) if whole else st.floats(-(2.0**99), 2.0**99, width=32)
    low, high = sorted((float(data.draw(ends)), float(data.draw(ends))))
    spec = InputSpec(
        name="x", dtype="int64" if whole else "float32", dims=(Dim(name="n"), Dim(size=3)), low=low, high=high
    )
    family = data.draw(st.sampled_from(["range", "wide", "zeros"]))
    array = draw((spec,), Probe(family=family, seed=data.draw(st.integers(0, 99)), sizes={"n": 7}))["x"]
    assert array.shape == (7, 3)
    assert low <= float(array.min())
    assert float(array.max()) <= high


def test_probes_are_the_same_in_every_process_and_differ_among_each_other() -> None:
    """A probe's arrays follow from its family, seed, sizes and input name alone; no two probes share them."""
    inputs = chosen(Echo(), "ids=float32[batch,4]", "mask=float32[batch,4]")
    arrays = [inputs.arrays(probe) for probe in inputs.probes if probe.family != "zeros"]
    again = [inputs.arrays(probe) for probe in inputs.probes if probe.family != "zeros"]
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(arrays, again, strict=True) for name in a)
    drawn = [array.tobytes() for pair in arrays for array in pair.values()]
    drawn += [value.numpy().tobytes() for value in inputs.example()[1].values()]
    assert len(set(drawn)) == len(drawn)
    first = draw((InputSpec.parse("x=float32[2]"),), Probe(family="normal", seed=1))["x"]
    assert [f"{value:.6f}" for value in first] == ["0.800268", "0.300293"]  # drawn once, on another day


def test_every_family_size_and_level_is_covered() -> None:
    """Each family, each size of each dimension and each optimisation level is probed at least once."""
    specs = (InputSpec.parse("x=float32[batch=2,n=4,m=5]"),)
    sizes = {"batch": (2, 1, 3, 5), "n": (4, 5, 2), "m": (5, 6)}
    probes = plan_probes(specs, sizes, has_sample=True)
    assert {probe.family for probe in probes} == {"normal", "wide", "zeros", "sample"}
    for name, values in sizes.items():
        assert {probe.sizes[name] for probe in probes if name in probe.sizes} == set(values)
    assert {level for probe in probes for level in probe.levels} == {*LEVELS}
    assert len({probe.key for probe in probes}) == len(probes)
    assert probes[0].sizes == {"batch": 2, "n": 4, "m": 5}


def test_the_batch_leads_the_first_input() -> None:
    """As a dynamic dimension, as a fixed one, or as the rows of a sample."""
    probe = Probe(family="normal", seed=1, sizes={"batch": 3})
    for text, size in (("x=float32[batch,4]", 3), ("x=float32[7,4]", 7), ("x=float32[]", None)):
        assert Inputs((InputSpec.parse(text),), argument_paths=(), probes=()).batch_size(probe) == size
    specs, sample = (InputSpec.parse("x=float32[batch,4]"),), {"x": np.zeros((6, 4))}
    inputs = Inputs(specs, argument_paths=(), probes=(), sample=sample)
    assert inputs.batch_size(Probe(family="sample", seed=0)) == 6
