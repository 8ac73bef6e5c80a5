"""What would take more memory than is allowed is refused with the figure and the variable that allows it."""

import pytest
import torch

from tasks.core.allowance import VARIABLE, allowed_bytes, check_memory
from tasks.core.errors import SpecError, WeightsError
from tasks.core.memory_guard import available_bytes, guarded
from tasks.core.spec.input_memory import check_input_memory
from tasks.core.spec.input_spec import InputSpec


def test_the_variable_that_the_sentence_names_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 GB are refused; as large as the sentence says, they are not."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(WeightsError, match=r"^It takes 4\.3 GB of memory, and 1\.1 GB is .*ASSAY_MEMORY=5GB\.$"):
        check_memory(1 << 32, "It takes", way_out="make it smaller", error=WeightsError)
    monkeypatch.setenv(VARIABLE, "5GB")
    check_memory(1 << 32, "It takes", way_out="make it smaller")


@pytest.mark.parametrize(("text", "num_bytes"), [("8GB", 8 * 10**9), ("2 GiB", 2 << 30), ("1000", 1000), ("", 1 << 30)])
def test_sizes_are_read(text: str, num_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a unit; empty is not set."""
    monkeypatch.setenv(VARIABLE, text)
    assert allowed_bytes() == num_bytes


@pytest.mark.parametrize("text", ["lots", "-1", "9" * 30, "8 apples", "GB"])
def test_what_is_no_size_is_said(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake does not mean the default."""
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(SpecError, match="is no size; write"):
        allowed_bytes()


@pytest.mark.parametrize(
    ("inputs", "figure"),
    [
        (["x=float32[1024,1024,1024]"], "4.3 GB"),
        (["x=bool[batch,1000000,2000]"], "2.0 GB"),
        (["x=float64[100000,1000]", "y=float64[100000,1000]"], "1.6 GB"),
        (["x=float32[batch:1000000..,1024]"], "4.1 GB"),
        (["x=float32[999999999999,999999999999,9]"], "more than 100 TB"),
    ],
)
def test_declared_inputs_are_counted(inputs: list[str], figure: str) -> None:
    """At fixed sizes, and at the least of dynamic ones."""
    with pytest.raises(SpecError, match=figure):
        check_input_memory(map(InputSpec.parse, inputs))
    check_input_memory([InputSpec.parse("x=float32[batch,3,2048,2048]")])


def test_a_guard_refuses_memory_and_lets_go_again() -> None:
    """Within it a tensor of 2 GB is refused, where 1 GB is left; afterwards it is not."""
    with guarded(1 << 30), pytest.raises(RuntimeError, match="can't allocate memory"):
        torch.empty(1 << 31, dtype=torch.uint8)
    with guarded(1 << 30), pytest.raises(MemoryError):
        bytearray(1 << 31)
    torch.empty(1 << 31, dtype=torch.uint8)  # never written to
    assert available_bytes() > 0
