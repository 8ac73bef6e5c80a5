"""A hash names the content, however it is stored."""

import hashlib
from pathlib import Path

import pytest
import torch

from tasks.core.hashes import file_sha256, tensors_sha256

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, -0.5])}


def test_a_file_is_hashed_by_its_bytes(tmp_path: Path) -> None:
    """As `sha256sum` does."""
    (tmp_path / "file").write_bytes(b"assay" * 100_000)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"assay" * 100_000).hexdigest()


def test_the_order_and_the_layout_in_memory_do_not_count() -> None:
    """Nor does it matter whether a tensor is a parameter, a view, or sparse."""
    other = {
        "bias": torch.nn.Parameter(torch.tensor([9.0, 1.0, -0.5]))[1:],
        "weight": TENSORS["weight"].T.contiguous().T,
    }
    assert tensors_sha256(other) == tensors_sha256(TENSORS)
    assert tensors_sha256({**TENSORS, "weight": TENSORS["weight"].to_sparse()}) == tensors_sha256(TENSORS)


def test_the_hash_of_a_release_stays() -> None:
    """Versions in MLflow are compared by it: another algorithm would make all models new."""
    assert tensors_sha256(TENSORS) == "de3e2b6779c7b704822c189d3129ed32edf982c59a8c80d020ae0c06913a21f5"


@pytest.mark.parametrize(
    "other",
    [
        {**TENSORS, "bias": torch.tensor([1.0, -0.25])},
        {**TENSORS, "bias": TENSORS["bias"].double()},
        {**TENSORS, "weight": TENSORS["weight"].reshape(3, 2)},
        {"weight": TENSORS["weight"], "offset": TENSORS["bias"]},
        {"weight": TENSORS["weight"]},
        {**TENSORS, "bias": torch.tensor([1.0, -0.5]) * torch.tensor([1.0, -1.0])},
    ],
    ids=["value", "dtype", "shape", "name", "one less", "sign"],
)
def test_every_difference_counts(other: dict[str, torch.Tensor]) -> None:
    """A value, a dtype, a shape, a name or a missing tensor gives another hash."""
    assert tensors_sha256(other) != tensors_sha256(TENSORS)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(2, dtype=torch.bfloat16), torch.tensor(3), torch.tensor([True]), torch.zeros(0, 4),
     torch.tensor([1 + 2j]).conj()],
    ids=["bfloat16", "scalar", "bool", "empty", "conjugate"],
)  # fmt: skip
def test_every_kind_of_tensor_has_a_hash(tensor: torch.Tensor) -> None:
    """Also what numpy has no dtype for, and what is stored in a lazy form."""
    assert tensors_sha256({"a": tensor}) == tensors_sha256({"a": tensor.clone()})
    assert tensors_sha256({"a": tensor}) != tensors_sha256({"b": tensor})


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:UserWarning")
def test_quantized_tensors_are_hashed_by_their_values() -> None:
    """Their bytes can't be viewed."""
    ones, twos = (torch.quantize_per_tensor(torch.full((2,), value), 0.1, 0, torch.qint8) for value in (1.0, 2.0))
    assert tensors_sha256({"a": ones}) == tensors_sha256({"a": ones.clone()}) != tensors_sha256({"a": twos})
