"""Inputs are chosen as a user would expect, and probes stay within what was declared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from tasks.core.errors import InputsError, OutOfMemoryError, SpecError
from tasks.core.inputs.choice import Inputs, choose_inputs
from tasks.core.inputs.probes import Probe, draw, plan_probes
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.input_spec import Dim, InputSpec
from tasks.core.spec.resolve import resolve


class Echo(nn.Module):
    """Records how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The mean of the input."""
        self.calls.append((ids, mask))
        return ids.float().mean() + (0 if mask is None else mask.float().mean())


class Picky(nn.Module):
    """Raises where a condition on the shape of its input does not hold."""

    def __init__(self, condition: Any) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the input."""
        if not self.condition(*x.shape):
            raise ValueError(f"no {tuple(x.shape)}")
        return x * 2


def chosen(model: nn.Module, *inputs: str, **fields: Any) -> Inputs:
    """The inputs of a live module."""
    return choose_inputs(resolve(ExportSpec(model=fields.pop("name", model), inputs=inputs, **fields)), model)


def sample_file(folder: Path, **arrays: Any) -> Path:
    """An .npz file."""
    np.savez(folder / "sample.npz", **arrays)
    return folder / "sample.npz"


def sizes_of(inputs: Inputs, dim: str) -> set[int]:
    """Sizes at which a dimension is probed."""
    return {probe.sizes[dim] for probe in inputs.probes if dim in probe.sizes}


ANY = nn.Identity()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("squeezenet1_1", 224), ("mobilenet_v3_small", 224), ("efficientnet_b3", 300), ("inception_v3", 299)],
)
def test_torchvision_models_have_default_sizes(name: str, expected: int) -> None:
    """A torchvision model without --input takes a dynamic batch at the crop of its default weights."""
    from tasks.core.inputs.choice import default_inputs

    inputs = default_inputs(resolve(ExportSpec(model=name)), nn.Identity(), None)
    assert [str(spec) for spec in inputs] == [f"input=float32[batch,3,{expected},{expected}]"]


def test_a_size_that_the_model_fixes_comes_first() -> None:
    """A ViT built for 32 pixels takes 32, whatever its default weights crop to; forward names the input."""
    vit = models.VisionTransformer(32, 16, 1, 2, 8, 16)
    inputs = chosen(vit, name="vit_h_14")
    assert [str(spec) for spec in inputs.specs] == ["x=float32[batch=2,3,32,32]"]


def test_without_any_hint_the_parameters_are_named() -> None:
    """A class of one's own needs --input, and the message shows it for forward's own names."""
    with pytest.raises(InputsError, match=r"forward\(ids, mask\).*--input ids=float32\[batch,…\] --input mask="):
        chosen(Echo())


def test_names_of_forward_are_keywords() -> None:
    """Inputs that are all named like parameters are passed by keyword, in any order."""
    inputs = chosen(Echo(), "mask=bool[batch,4]", "ids=int64[batch,4]@0..9")
    args, kwargs = inputs.example()
    assert [path.argument for path in inputs.argument_paths] == ["ids", "mask"]
    assert args == ()
    assert (kwargs["ids"].dtype, kwargs["mask"].dtype) == (torch.int64, torch.bool)


def test_other_names_are_positions() -> None:
    """With one name that forward does not know all are passed by position, in the order given."""
    inputs = chosen(Echo(), "tokens=int64[batch,4]@0..9", "mask=bool[batch,4]")
    args, kwargs = inputs.example()
    assert [path.argument for path in inputs.argument_paths] == [0, 1]
    assert [value.dtype for value in args] == [torch.int64, torch.bool]
    assert kwargs == {}


def test_input_names_label_what_the_file_shows() -> None:
    """`input_names` rename inputs in order; too few of them are refused."""
    inputs = chosen(Echo(), "ids=int64[batch,4]@0..9", input_names=("tokens", "learned_0"))
    assert inputs.names == ("tokens",)
    with pytest.raises(SpecError, match="2 inputs need as many input_names, not 1"):
        chosen(Echo(), "ids=int64[4]@0..9", "mask=bool[4]", input_names=("a",))


def test_the_traced_batch_is_at_least_two() -> None:
    """A batch of 1 in the example would be frozen: dynamic sizes are traced at 2 or more, unless bounded to 1."""
    assert chosen(ANY, "x=float32[batch,3]").probes[0].sizes == {"batch": 2}
    assert chosen(ANY, "x=float32[batch=1,3]").probes[0].sizes == {"batch": 2}
    assert chosen(ANY, "x=float32[batch=7,3]").probes[0].sizes == {"batch": 7}
    assert chosen(ANY, "x=float32[batch:1..1,3]").probes[0].sizes == {"batch": 1}
    assert chosen(ANY, "x=float32[batch,length=1]").probes[0].sizes == {"batch": 2, "length": 2}


def test_a_batch_is_probed_at_one_two_odd_and_larger() -> None:
    """A dynamic batch is proven at 1, 2, 3 and 5."""
    assert sizes_of(chosen(ANY, "x=float32[batch,3]"), "batch") == {1, 2, 3, 5}


@pytest.mark.parametrize("bounds", ["2..3", "4..4", "6..9", "20..", "1..2", "0..3"])
def test_bounds_hold_for_every_probe(bounds: str) -> None:
    """No probe leaves a dimension's bounds, as batch or not; where there is room it is probed at two sizes."""
    low, _, high = bounds.partition("..")
    lowest, highest = max(int(low), 1), int(high or 10**6)
    for text in (f"x=float32[n:{bounds},3]", f"x=float32[batch,n={max(lowest, 2)}:{bounds}]"):
        sizes = sizes_of(chosen(ANY, text), "n")
        assert all(lowest <= size <= highest for size in sizes)
        assert len(sizes) > 1 or lowest == highest


def test_other_dims_are_probed_at_one_two_an_odd_and_a_large_size() -> None:
    """A dynamic dimension beside the batch is traced at its size and proven at 1, 2 and two others; pictures at two."""
    inputs = chosen(ANY, "x=float32[batch,length=12]")
    assert inputs.probes[0].sizes == {"batch": 2, "length": 12}
    assert {1, 2, 13} < sizes_of(inputs, "length") - {12}
    assert inputs.refused == {}
    assert len(sizes_of(chosen(ANY, "x=float32[batch,height=224]"), "height") - {224}) == 2


def test_bounds_are_probed() -> None:
    """A dynamic dimension is proven at its bounds, unless the upper one is far beyond the traced size."""
    assert {5, 40} <= sizes_of(chosen(ANY, "x=float32[batch,length=12:5..40]"), "length")
    assert 400 not in sizes_of(chosen(ANY, "x=float32[batch,length=12:5..400]"), "length")


def test_refused_sizes_are_recorded_and_not_probed() -> None:
    """Sizes at which the module itself raises are recorded, and others that it takes are probed instead."""
    inputs = chosen(Picky(lambda _, length: length % 8 == 0), "x=float32[batch,length=32]")
    assert all(size % 8 == 0 for size in sizes_of(inputs, "length"))
    assert len(sizes_of(inputs, "length")) >= 3
    assert {33, 31} <= set(inputs.refused["length"])


def test_refused_batches_are_recorded_and_not_probed() -> None:
    """A module that takes even batches only, or no single sample, is proven at those that it takes."""
    inputs = chosen(Picky(lambda batch, _: batch % 2 == 0), "x=float32[batch,3]")
    assert sizes_of(inputs, "batch") == {2}
    assert set(inputs.refused["batch"]) == {1, 3, 5}
    inputs = chosen(Picky(lambda batch, _: batch > 1), "x=float32[batch,3]")
    assert sizes_of(inputs, "batch") == {2, 3, 5}
    assert inputs.refused["batch"] == (1,)


def test_a_module_that_does_not_run_is_one_sentence() -> None:
    """A declared input that forward refuses is told with forward's own words."""
    with pytest.raises(
        InputsError, match=r"Linear does not run on x=float32\[batch=2,5\]: RuntimeError: mat1"
    ) as caught:
        chosen(nn.Linear(4, 3), "x=float32[batch,5]")
    assert "\n" not in str(caught.value)


def test_a_dimension_has_one_size_everywhere() -> None:
    """A name that stands twice has one size and both bounds; contradictions are refused."""
    inputs = chosen(Echo(), "ids=int64[batch,n=6:2..20]@0..9", "mask=bool[batch,n:4..]")
    assert [str(spec) for spec in inputs.specs][1] == "mask=bool[batch=2,n=6:4..20]"
    for wrong in ("mask=bool[batch,n=7]", "mask=bool[batch,n:30..40]", "mask=bool[batch,n:7..9]"):
        with pytest.raises(SpecError):
            chosen(Echo(), "ids=int64[batch,n=6:2..20]@0..9", wrong)


def test_a_dimension_without_a_size_is_refused() -> None:
    """Only the batch has a size by custom; for another the message says how to give one."""
    with pytest.raises(SpecError, match=r"dimension length needs a size to trace at; write length=SIZE"):
        chosen(ANY, "x=float32[batch,length]")


def test_scalars_and_fixed_shapes_work() -> None:
    """Inputs without dims, and without any dynamic one, are drawn and probed."""
    inputs = chosen(Echo(), "ids=float32[]", "mask=float32[2,3]")
    for probe in inputs.probes:
        arrays = inputs.arrays(probe)
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
        assert [array.shape for array in arrays.values()] == [(), (2, 3)]


def test_a_sample_alone_declares_the_inputs(tmp_path: Path) -> None:
    """Real inputs give names, dtypes, sizes, and of integers the range; their first dimension is the batch."""
    ids = np.array([[3, 9, 4], [7, 3, 5]])
    inputs = chosen(Echo(), sample=sample_file(tmp_path, ids=ids, mask=np.ones((2, 3), dtype=bool)))
    assert [str(spec) for spec in inputs.specs] == ["ids=int64[batch=2,3]@3..9", "mask=bool[batch=2,3]"]
    sample = next(probe for probe in inputs.probes if probe.family == "sample")
    assert np.array_equal(inputs.arrays(sample)["ids"], ids)


def test_a_sample_gives_sizes_that_inputs_leave_out(tmp_path: Path) -> None:
    """A dynamic dimension without a size is traced at the sample's."""
    file = sample_file(tmp_path, x=np.zeros((5, 11), dtype="float32"))
    assert chosen(ANY, "x=float32[batch,length]", sample=file).probes[0].sizes == {"batch": 2, "length": 11}


def test_a_sample_is_cut_to_its_first_rows(tmp_path: Path) -> None:
    """Of a long sample 64 rows are used, of one for a fixed batch as many as that has, and lengths stay whole."""

    def rows(text: str, *shape: int) -> tuple[int, ...]:
        inputs = chosen(ANY, text, sample=sample_file(tmp_path, x=np.zeros(shape, dtype="float32")))
        sample = next(probe for probe in inputs.probes if probe.family == "sample")
        return inputs.arrays(sample)["x"].shape

    assert rows("x=float32[batch,3]", 100, 3) == (64, 3)
    assert rows("x=float32[batch:1..8,3]", 100, 3) == (8, 3)
    assert rows("x=float32[10,3]", 100, 3) == (10, 3)
    assert rows("x=float32[batch,length]", 3, 100) == (3, 100)


@pytest.mark.parametrize(
    ("text", "array", "words"),
    [
        (
            "x=float32[batch,3]",
            np.zeros((4, 5), "float32"),
            r"has the shape \(4, 5\), which is not x=float32\[batch=2,3\]",
        ),
        ("x=float32[batch,3]", np.zeros(3, "float32"), "has the shape"),
        ("x=float32[batch,3]", np.zeros((0, 3), "float32"), "has the shape"),
        ("x=float32[10,3]", np.zeros((4, 3), "float32"), "has the shape"),
        ("x=float32[batch,n=4:2..8]", np.zeros((4, 9), "float32"), "has the shape"),
        ("x=float32[batch:4..8,3]", np.zeros((2, 3), "float32"), "has the shape"),
        ("x=float32[n=4,n]", np.zeros((4, 5), "float32"), "has the shape.* with n=4"),
        ("x=int64[batch,3]@0..9", np.full((2, 3), 10), "from 10 to 10, outside the range 0..9"),
        ("x=float32[batch,3]@0..1", np.full((2, 3), np.nan, "float32"), "outside the range"),
        ("x=int64[batch,3]@0..9", np.full((2, 3), 0.5), "holds fractions"),
        ("x=float32[batch,3]", np.full((2, 3), "a"), "not numbers"),
        ("x=float32[batch,3]", np.full((2, 3), 1j), "not numbers"),
        ("y=float32[batch,3]", np.zeros((2, 3), "float32"), "The sample holds x, but the inputs are y"),
    ],
)
def test_a_sample_that_contradicts_is_one_sentence(text: str, array: Any, words: str, tmp_path: Path) -> None:
    """A sample of another shape, range or kind than the input is refused with both."""
    with pytest.raises(SpecError, match=words):
        chosen(ANY, text, sample=sample_file(tmp_path, x=array))


def test_samples_must_agree_with_each_other(tmp_path: Path) -> None:
    """Two arrays that share a dimension by name have one size in it."""
    file = sample_file(tmp_path, ids=np.zeros((4, 5), int), mask=np.ones((3, 5), bool))
    with pytest.raises(SpecError, match=r"mask has the shape \(3, 5\).* with batch=4"):
        chosen(Echo(), "ids=int64[batch,5]@0..9", "mask=bool[batch,5]", sample=file)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04broken", "truncated", "npy", "pickled", "missing", "folder", "odd dtype"]
)
def test_what_is_no_sample_is_one_sentence(content: bytes | str, tmp_path: Path) -> None:
    """A file that is no .npz of plain arrays is refused in one sentence."""
    path = sample_file(tmp_path, x=np.zeros((2, 3), dtype="float32"))
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "truncated":
        path.write_bytes(path.read_bytes()[:150])
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "pickled":
        np.savez(path, x=np.array([{"a": 1}], dtype=object))
    elif content == "odd dtype":
        np.savez(path, x=np.zeros((2, 3), dtype="uint32"))
    else:
        path = tmp_path if content == "folder" else tmp_path / "missing.npz"
    with pytest.raises(SpecError) as caught:
        chosen(ANY, sample=path)
    assert "\n" not in str(caught.value)


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
    assert {level for probe in probes for level in probe.levels} == {"off", "all"}
    assert len({probe.key for probe in probes}) == len(probes)
    assert probes[0].sizes == {"batch": 2, "n": 4, "m": 5}


def test_arguments_are_copies() -> None:
    """A model that writes into its input does not change the probe."""
    inputs = chosen(ANY, "x=float32[batch,3]")
    arrays = inputs.arrays(inputs.probes[0])
    before = arrays["x"].copy()
    args, kwargs = inputs.arguments(arrays)
    for tensor in (*args, *kwargs.values()):
        tensor.zero_()
    assert np.array_equal(arrays["x"], before)


class Hungry(nn.Module):
    """Needs more memory than there is for three rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 4]."""
        if len(x) == 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return x * 2


def test_a_lack_of_memory_is_no_refusal_of_a_size() -> None:
    """A size is not left out because a machine is small."""
    with pytest.raises(OutOfMemoryError, match="Memory ran out while Hungry ran at batch=3"):
        chosen(Hungry(), "x=float32[batch,4]")
