"""An exception of a module's call is the module's, the machine's, or Assay's own, and is treated as what it is."""

import pytest
import torch
from torch import nn

from tasks.core.arrays import ratio
from tasks.core.errors import OutOfMemoryError, is_own_fault, refusal_of

LAYER = nn.Linear(2, 3)
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


def _caught(call: object, *args: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is
        call(*args)  # type: ignore[operator]
    return caught.value


def test_what_the_module_raises_is_one_line() -> None:
    """Be it PyTorch's or the user's, raised in any file but Assay's."""
    error = _caught(LAYER, torch.zeros(4))
    assert refusal_of(error, LAYER, where="batch=4").startswith("RuntimeError: ")
    assert refusal_of(_caught(int, "four"), LAYER, where="batch=4").startswith("ValueError: ")


@pytest.mark.parametrize(
    "error", [MemoryError("no"), RuntimeError(ALLOCATOR), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_a_lack_of_memory_is_no_refusal(error: Exception) -> None:
    """It is the machine's, whoever notices it, and the sentence says so."""
    with pytest.raises(OutOfMemoryError, match=r"Memory ran out while Linear ran at batch=4: .*free some") as caught:
        refusal_of(error, LAYER, where="batch=4")
    assert caught.value.exit_status == 1


def test_a_mistake_of_assay_is_no_refusal() -> None:
    """A TypeError in one of its own lines stays one."""
    error = _caught(ratio, 1.0, None)
    assert is_own_fault(error)
    with pytest.raises(TypeError, match="not supported"):
        refusal_of(error, LAYER, where="batch=4")
    assert not is_own_fault(_caught(LAYER))
