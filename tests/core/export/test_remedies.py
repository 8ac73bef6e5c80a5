"""Narrower limits and fixed sizes, as they would be declared; and what the module itself refuses."""

from collections.abc import Callable

import pytest

from tasks.core.errors import Limits
from tasks.core.export.remedies import declared, refuses_beyond, with_fixed_sizes, within
from tasks.core.inputs.inputs import Inputs
from tasks.core.reference.reference import Reference
from tests.core.inputs.choosing import ANY, Echo, Picky, chosen, sizes_of


@pytest.mark.parametrize(
    ("takes", "limits", "refuses"),
    [
        (lambda n: n >= 20, (20, None), True),
        (lambda n: n != 19, (20, None), False),
        (lambda n: n >= 20 or n == 1, (20, None), False),
        (lambda n: n >= 20 or n in (2, 10), (20, None), False),
        (lambda n: n <= 40, (None, 40), True),
        (lambda n: n != 41, (None, 40), False),
        (lambda n: n <= 40 or n == 80, (None, 40), False),
        (lambda n: 20 <= n <= 40, (20, 40), True),
        (lambda n: n >= 20, (20, 40), False),
    ],
)
def test_what_an_exporter_excludes_is_tried(takes: Callable[[int], bool], limits: Limits, refuses: bool) -> None:
    """Next to the limits and farther away: one size that the module takes is enough."""
    model = Picky(lambda _, n: takes(n))
    inputs = chosen(model, "x=float32[batch,n=32]")
    assert refuses_beyond(Reference(model, inputs), {"n": limits}) == refuses


def test_declared_bounds_are_not_left() -> None:
    """Sizes that were never asked for say nothing of the module."""
    model = Picky(lambda _, n: n != 41)
    inputs = chosen(model, "x=float32[batch,n=32:30..40]")
    assert refuses_beyond(Reference(model, inputs), {"n": (30, 40)})


def test_limits_leave_the_probes_within() -> None:
    """The traced sizes always are; what follows from others has no bounds of its own."""
    inputs = chosen(Echo(), "ids=float32[batch,n=12]", "mask=float32[batch,2*n]")
    limited = within(inputs, {"n": (8, None), "batch": (None, 2)})
    assert [str(spec) for spec in limited.specs] == [
        "ids=float32[batch=2:1..2,n=12:8..]",
        "mask=float32[batch=2:1..2,2*n]",
    ]
    assert limited.probes[0].sizes == {"batch": 2, "n": 12}
    assert min(sizes_of(limited, "n")) >= 8
    assert max(sizes_of(limited, "batch")) == 2


def _fixed(inputs: Inputs) -> dict[str, str]:
    return {words: declared(fixed.specs) for words, fixed in with_fixed_sizes(inputs)}


def test_fixed_sizes_are_the_batch_then_the_others_then_all() -> None:
    """What follows from a fixed size is fixed with it, and probes stay for the others."""
    inputs = chosen(Echo(), "ids=float32[batch,n=12]", "mask=float32[rows=2*batch,m=batch+n]")
    assert _fixed(inputs) == {
        "a fixed batch": "--input 'ids=float32[1,n=12]' --input 'mask=float32[2,m=1+n]'",
        "a fixed n": "--input 'ids=float32[batch=2,12]' --input 'mask=float32[rows=2*batch,m=batch+12]'",
        "a fixed batch and n": "--input 'ids=float32[1,12]' --input 'mask=float32[2,13]'",
    }
    fixed = dict(with_fixed_sizes(inputs))["a fixed batch"]
    assert sizes_of(fixed, "n") == sizes_of(inputs, "n")
    assert fixed.arrays(fixed.probes[1])["mask"].shape[0] == 2
    assert [*_fixed(chosen(ANY, "x=float32[batch,3]"))] == ["a fixed batch"]
    assert [*_fixed(chosen(ANY, "x=float32[3,n=4]"))] == ["a fixed n"]
    assert _fixed(chosen(ANY, "x=float32[3,4]")) == {}
