"""Data flow of a recorded run; no PyTorch is needed."""

import pytest

from tasks.core.forward.traces import Call, Trace


def _trace(*calls: tuple[str, tuple[int, ...], int]) -> Trace:
    """A trace of calls by module path, inputs and output."""
    trace = Trace()
    for path, inputs, output in calls:
        trace.producer[output] = len(trace.calls)
        trace.calls.append(Call("aten.op", path, "Module", "", inputs, (output,)))
    return trace


@pytest.mark.parametrize(("operands", "branch"), [((0, 2), 1), ((2, 0), 0)])
def test_the_branch_is_computed_from_the_trunk(operands: tuple[int, int], branch: int) -> None:
    """In x + f(x) the second operand is the branch, in f(x) + x the first."""
    trace = _trace(("block.a", (0,), 1), ("block.b", (1,), 2))
    assert trace.branch(operands, module_path="block", since=0) == branch


def test_the_longer_of_two_branches_counts() -> None:
    """With a downsampling shortcut f(x) is the one with more operators."""
    trace = _trace(("block.down", (0,), 1), ("block.a", (0,), 2), ("block.b", (2,), 3))
    assert trace.branch((1, 3), module_path="block", since=0) == 1


def test_an_addition_of_what_no_child_computed_is_no_residual_block() -> None:
    """Two inputs of the module have no branch."""
    trace = _trace(("", (0,), 1), ("", (0,), 2))
    assert trace.branch((1, 2), module_path="block", since=2) is None


def test_inputs_have_no_call() -> None:
    """Only computed values do."""
    trace = _trace(("block", (0,), 1))
    assert trace.call_of(0) is None
    assert trace.call_of(1) is trace.calls[0]
