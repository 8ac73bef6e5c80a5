"""Number, dtypes, shapes and elements that are not finite are compared before any values."""

import numpy as np
import pytest

from tasks.core.reference.structure import structural_failure


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (np.zeros((2, 3), np.float64), "is float64 in the file"),
        (np.zeros((1, 3), np.float32), "has the shape [1, 3] in the file"),
        (np.array([[0, 0, np.nan], [0, 0, 0]], np.float32), "has 1 NaN in the file"),
        (np.array([[0, 0, np.inf], [0, 0, 0]], np.float32), "has 1 Inf in the file"),
    ],
)
def test_structure_is_compared_before_values(found: np.ndarray, says: str) -> None:
    """Another dtype, shape, NaN or Inf is a failure of its own, with both sides in the sentence."""
    assert says in structural_failure([found], [np.zeros((2, 3), np.float32)], ["scores"])
    assert structural_failure([np.zeros((2, 3), np.float32)], [np.zeros((2, 3), np.float32)], ["scores"]) == ""


def test_another_number_of_outputs_is_a_failure() -> None:
    """Before anything else can be compared."""
    assert structural_failure([], [np.zeros(2)], ["scores"]) == "the file has 0 outputs, the module 1"


def test_outputs_sized_by_data_may_have_any_number_of_items() -> None:
    """Their items are matched elsewhere; their other dimensions are compared here."""
    found, wanted = [np.zeros((3, 4), np.float32)], [np.zeros((5, 4), np.float32)]
    assert "has the shape [3, 4]" in structural_failure(found, wanted, ["boxes"])
    assert structural_failure(found, wanted, ["boxes"], sized_by_data={0}) == ""
    assert "has the shape [3, 4]" in structural_failure(found, [np.zeros((5, 5), np.float32)], ["b"], sized_by_data={0})
