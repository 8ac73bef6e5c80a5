"""Sizes that the module refuses to have varied alone are varied together, and the equation is found and said."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.core.inputs.choosing import chosen, sizes_of


class Bound(nn.Module):
    """Raises where a condition on four lengths does not hold."""

    def __init__(self, condition: Callable[..., bool]) -> None:
        super().__init__()
        self.condition = condition
        self.num_calls = 0

    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        """Their sum."""
        self.num_calls += 1
        if not self.condition(*(x.shape[1] for x in (a, b, c, d))):
            raise ValueError("lengths")
        return a.sum() + b.sum() + c.sum() + d.sum()


def _found(condition: Callable[..., bool], *sizes: int, bounds: str = "") -> list[str]:
    dims = [f"{name.upper()}={size}{bounds}" for name, size in zip("abcd", sizes, strict=True)]
    inputs = chosen(Bound(condition), *(f"{dim[0].lower()}=float32[batch,{dim}]" for dim in dims))
    return [str(dim) for spec in inputs.specs for dim in spec.dims if dim.formula]


@pytest.mark.parametrize(
    ("condition", "sizes", "equations"),
    [
        (lambda a, b, c, d: c == a + b, (5, 3, 8, 8), ["C=A+B"]),
        (lambda a, b, c, d: a == b + d, (8, 3, 8, 5), ["A=B+D"]),
        (lambda a, b, c, d: c == d == a + b, (5, 3, 8, 8), ["C=A+B", "D=A+B"]),
        (lambda a, b, c, d: d == a + b + c, (2, 3, 4, 9), ["D=A+B+C"]),
        (lambda a, b, c, d: a == b == c == d, (4, 4, 4, 4), ["B=A", "C=A", "D=A"]),
        (lambda a, b, c, d: b == 2 * a and c == d, (4, 8, 6, 6), ["B=2*A", "D=C"]),
        (lambda a, b, c, d: b == a + 1, (4, 5, 6, 7), ["B=A+1"]),
        (lambda a, b, c, d: b == 2 * a + 1, (4, 9, 6, 7), ["B=2*A+1"]),
        (lambda a, b, c, d: c == a * b, (4, 6, 24, 5), ["C=A*B"]),
        (lambda a, b, c, d: c == a + b and a % 4 == b % 4 == 0, (8, 4, 12, 5), ["C=A+B"]),
        (lambda a, b, c, d: a in (1, 5) and c == a + b, (5, 3, 8, 8), ["C=B+5"]),
        (lambda a, b, c, d: a == 5, (5, 3, 8, 8), []),
        (lambda a, b, c, d: True, (5, 3, 8, 8), []),
    ],
)
def test_an_equation_between_sizes_is_found(
    condition: Callable[..., bool], sizes: tuple[int, ...], equations: list[str]
) -> None:
    """Sums, products, multiples, offsets and equal sizes; none where a size is fixed or nothing binds it."""
    assert _found(condition, *sizes) == equations


def test_what_was_found_is_proven_and_said() -> None:
    """Each dimension is probed at several sizes, and a note says what to declare."""
    inputs = chosen(
        Bound(lambda a, b, c, d: c == a + b),
        *(f"{n}=float32[batch,{n}1={s}]" for n, s in zip("abcd", (5, 3, 8, 6), strict=True)),
    )
    assert inputs.notes == (
        "c1 was taken for a1+b1, as the model refuses to have it varied alone; --input may say so: c1=a1+b1",
    )
    assert len(sizes_of(inputs, "a1")) > 2
    assert "c1" not in inputs.probes[0].sizes
    assert inputs.refused == {}
    for probe in inputs.probes:
        arrays = inputs.arrays(probe)
        assert arrays["c"].shape[1] == arrays["a"].shape[1] + arrays["b"].shape[1]


def test_bounds_are_kept() -> None:
    """Equal sizes share theirs; a sum with bounds of its own can't be written, and is left as it is."""
    assert _found(lambda a, b, c, d: a == b, 4, 4, 5, 6, bounds=":2..9") == ["B=A"]
    assert _found(lambda a, b, c, d: c == a + b, 4, 3, 7, 6, bounds=":2..9") == []


def test_the_search_ends() -> None:
    """A module that takes one size of each of many dimensions is run a bounded number of times."""
    module = Bound(lambda *sizes: sizes == (4, 8, 12, 24))
    chosen(module, *(f"{n}=float32[batch,{n}1={s}]" for n, s in zip("abcd", (4, 8, 12, 24), strict=True)))
    assert module.num_calls < 250
