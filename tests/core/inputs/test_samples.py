"""Real inputs declare what they are, and are refused in one sentence where they contradict."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.core.errors import InputsError, SpecError
from tests.core.inputs.choosing import ANY, Echo, chosen, sample_file


def test_a_sample_alone_declares_the_inputs(tmp_path: Path) -> None:
    """Real inputs give names, dtypes, sizes, and of integers the range; their first dimension is the batch."""
    ids = np.array([[3, 9, 4], [7, 3, 5]])
    inputs = chosen(Echo(), sample=sample_file(tmp_path, ids=ids, mask=np.ones((2, 3), dtype=bool)))
    assert [str(spec) for spec in inputs.specs] == ["ids=int64[batch=2,3]@3..9", "mask=bool[batch=2,3]"]
    sample = next(probe for probe in inputs.probes if probe.family == "sample")
    assert np.array_equal(inputs.arrays(sample)["ids"], ids)


@pytest.mark.parametrize(
    ("example", "declared"),
    [
        (torch.zeros(1, 3), ["ids=float32[batch=2,3]"]),
        ((torch.tensor([[3, 9, 4]]), torch.ones(1, 3)), ["ids=int64[batch=2,3]@3..9", "mask=float32[batch=2,3]"]),
        ({"mask": torch.zeros(4, 2), "ids": torch.zeros(4, 5)}, ["ids=float32[batch=2,5]", "mask=float32[batch=2,2]"]),
    ],
)  # fmt: skip
def test_a_modules_own_example_declares_the_inputs(example: Any, declared: list[str]) -> None:
    """As Lightning's modules have it; the first dimension is the batch."""
    module = Echo()
    module.example_input_array = example
    assert [str(spec) for spec in chosen(module).specs] == declared


@pytest.mark.parametrize("example", [None, (), ("text", torch.zeros(1, 3)), torch.zeros(1, 3, dtype=torch.bfloat16)])
def test_what_is_no_example_declares_nothing(example: Any) -> None:
    """Then the user is asked."""
    module = Echo()
    module.example_input_array = example
    with pytest.raises(InputsError, match="Nothing says what Echo"):
        chosen(module)


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


def test_a_sample_must_fit_what_follows_from_its_sizes(tmp_path: Path) -> None:
    """A mask is as long as its ids and its past together, and as many rows as its batch says are not cut off."""
    inputs = ("ids=float32[batch,length]", "mask=float32[rows=2*batch,total=length+1]")
    arrays = {"ids": np.zeros((80, 5), "float32"), "mask": np.zeros((160, 6), "float32")}
    taken = chosen(Echo(), *inputs, sample=sample_file(tmp_path, **arrays))
    sample = next(probe for probe in taken.probes if probe.family == "sample")
    assert taken.arrays(sample)["mask"].shape == (160, 6)
    for shape in ((160, 5), (80, 6), (160,)):
        arrays["mask"] = np.zeros(shape, "float32")
        with pytest.raises(SpecError, match=r"mask has the shape .* which is not .*rows=2"):
            chosen(Echo(), *inputs, sample=sample_file(tmp_path, **arrays))
