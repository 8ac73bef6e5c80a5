"""Samples are read from where people have them, and what does not fit is one sentence."""

from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import SpecError
from tasks.core.records.steps import TensorType
from tasks.core.variants.data import Data

INPUTS = (TensorType(name="x", dtype="float32", dims=("batch", 3)),)
ROWS = np.arange(300, dtype=np.float32).reshape(100, 3)
FUNCTIONS = """
import numpy as np
def rows():
    for start in range(0, 300, 30):
        yield {"x": np.arange(start, start + 30, dtype=np.float32).reshape(10, 3)}, np.zeros(10, dtype=int)
def restless():
    yield {"x": np.random.default_rng().standard_normal((10, 3), dtype=np.float32)}
def broken():
    raise KeyError("disk")
    yield
"""


def _npz(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_a_file_a_folder_and_a_function_give_the_same_samples(tmp_path: Path) -> None:
    """As many, with the same rows, whatever they lie in; the same content has the same hash."""
    labels = np.zeros(100, dtype=int)
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(4):
        part = slice(25 * number, 25 * number + 25)
        _npz(folder / f"{number}.npz", x=ROWS[part], labels=labels[part])
    (tmp_path / "data.py").write_text(FUNCTIONS)
    texts = (_npz(tmp_path / "one.npz", x=ROWS, labels=labels), f"{folder}/", f"{tmp_path}/data.py:rows")
    found = [Data(text, INPUTS) for text in texts]
    for data in found:
        assert (data.record.num_samples, data.record.has_labels) == (100, True)
        np.testing.assert_array_equal(np.concatenate([batch.arrays["x"] for batch in data]), ROWS)
    assert len({data.record.sha256 for data in found}) == 1
    assert [data.record.origin for data in found] == ["one.npz", "many", "data.py:rows"]


def test_what_calibrates_does_not_evaluate(tmp_path: Path) -> None:
    """A sample in both is counted and refused, wherever it stands."""
    one, other = (Data(_npz(tmp_path / f"{n}.npz", x=rows), INPUTS) for n, rows in enumerate((ROWS, ROWS[::-1][:7])))
    with pytest.raises(SpecError, match=r"^7 samples of 1\.npz are in 0\.npz, too"):
        other.check_apart(one)
    Data(_npz(tmp_path / "2.npz", x=ROWS + 0.5), INPUTS).check_apart(one)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": ROWS}, "has y, but the inputs are x"),
        ({"x": ROWS[:, :2]}, r"x of .* is float32\[100, 2\], but the file takes x: float32\[batch, 3\]"),
        ({"x": ROWS, "labels": np.zeros(99, dtype=int)}, "have 99, 100 rows"),
        ({"x": ROWS[:0]}, "no sample"),
    ],
)
def test_what_does_not_fit_is_said(arrays: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    """Names, shapes, numbers of rows, and nothing at all."""
    with pytest.raises(SpecError, match=words):
        Data(_npz(tmp_path / "data.npz", **arrays), INPUTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("none.npz", "no samples at"), ("data.py:broken", "raises"), ("data.py:lost", "can't be loaded"),
        ("none.py:rows", "no file"),
    ],
)  # fmt: skip
def test_what_is_not_there_or_breaks_is_said(text: str, words: str, tmp_path: Path) -> None:
    """Of files and of the user's own functions."""
    (tmp_path / "data.py").write_text(FUNCTIONS)
    with pytest.raises(SpecError, match=words):
        Data(str(tmp_path / text), INPUTS)


def test_samples_that_are_others_each_time_are_refused(tmp_path: Path) -> None:
    """Files would be compared on different ones."""
    (tmp_path / "data.py").write_text(FUNCTIONS)
    data = Data(f"{tmp_path}/data.py:restless", INPUTS)
    with pytest.raises(SpecError, match="gives other samples when it is gone through again"):
        list(data)
