"""A module is taken out of what wraps it, and a user's own is wrapped again afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn

from tasks.core.errors import ModelError
from tasks.core.model.borrowing import borrowed
from tasks.core.model.wrappers import unwrapped, without_replicas
from tasks.core.spec.export_spec import ExportSpec


class Doubled(nn.Linear):
    """A layer of which forward is compiled where the class is made."""

    @torch.compile(backend="eager")
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice a linear layer."""
        return super().forward(x) * 2


@pytest.fixture
def layer() -> nn.Linear:
    """A layer, in eval mode."""
    return nn.Linear(3, 2).eval()


def test_a_plain_module_is_left_alone(layer: nn.Linear) -> None:
    """Nothing is taken away from it, and nothing said."""
    assert unwrapped(layer) == (layer, ())
    assert without_replicas(layer) == ()


def test_the_module_inside_is_taken(layer: nn.Linear) -> None:
    """Out of any number of wrappers, in any order."""
    wrapped = torch.compile(nn.DataParallel(layer), backend="eager")
    model, notes = unwrapped(wrapped)  # type: ignore[arg-type]
    assert model is layer
    assert notes == ("the module inside torch.compile and DataParallel was taken",)


def test_the_module_inside_a_distributed_one_is_taken(layer: nn.Linear, tmp_path: Path) -> None:
    """DDP needs a group of processes; one will do."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        assert unwrapped(nn.parallel.DistributedDataParallel(layer))[0] is layer
    finally:
        torch.distributed.destroy_process_group()


class Parallel(nn.DataParallel[nn.Linear]):
    """One that does more than the module inside."""

    def forward(self, *inputs: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        """Twice what it gives."""
        return super().forward(*inputs, **kwargs) * 2  # type: ignore[no-any-return]


class Optimised(nn.Module):
    """A user's own, with a part named as that of a compiled module."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self._orig_mod = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the part."""
        return 2 * self._orig_mod(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("wrapper", [Parallel, Optimised])
def test_what_computes_something_is_no_wrapper(wrapper: Callable[[nn.Module], nn.Module], layer: nn.Linear) -> None:
    """A subclass of DataParallel with a forward of its own stays, and a module that only has a compiled one's name."""
    torch.compile(layer)  # type: ignore[arg-type]
    model = nn.Sequential(wrapper(layer))
    assert unwrapped(model[0]) == (model[0], ())
    assert without_replicas(model) == ()
    assert torch.equal(unwrapped(model)[0](torch.ones(1, 3)), 2 * layer(torch.ones(1, 3)))


def test_compiled_parts_run_as_they_were_written(layer: nn.Linear) -> None:
    """Parts that are compiled from outside, in place, by a method or by a decorator."""
    in_place, method = nn.Linear(2, 2), nn.Linear(2, 2)
    in_place.compile(backend="eager")
    method.forward = torch.compile(method.forward, backend="eager")  # type: ignore[method-assign]
    model = nn.Sequential(torch.compile(layer, backend="eager"), in_place, method, Doubled(2, 2)).eval()  # type: ignore[arg-type]
    expected = model(torch.ones(1, 3))
    model, notes = unwrapped(model)
    assert notes == ("torch.compile was taken away from 0, 1, 2, 3",)
    assert next(iter(model.state_dict())) == "0.weight"
    with torch.no_grad():
        traced = torch.jit.trace(model, torch.ones(1, 3))  # which refuses what is compiled
    assert torch.equal(traced(torch.ones(1, 3)), expected)


def test_a_parallel_part_stays_until_its_weights_are_loaded(layer: nn.Linear) -> None:
    """Its keys are those of the weights of the same module."""
    model = nn.Sequential(nn.DataParallel(layer))
    assert list(unwrapped(model)[0].state_dict()) == ["0.module.weight", "0.module.bias"]
    assert without_replicas(model) == ("the module inside the parallel one was taken at 0",)
    assert model[0] is layer


def test_hooks_of_a_wrapper_are_not_lost_unseen(layer: nn.Linear) -> None:
    """They would be, and what the file computes would be another thing."""
    wrapped = nn.DataParallel(layer)
    wrapped.register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="DataParallel has hooks of its own"):
        unwrapped(wrapped)


def test_a_borrowed_module_is_wrapped_again(layer: nn.Linear) -> None:
    """A live module is compiled as before after an export, and so are functions."""
    layer.compile(backend="eager")
    model = nn.Sequential(torch.compile(nn.ReLU(), backend="eager"), layer)  # type: ignore[arg-type]
    part, call = model[0], layer._compiled_call_impl
    with borrowed(ExportSpec(model=model)):
        unwrapped(model)
        assert model[0] is not part
        assert layer._compiled_call_impl is None
    assert model[0] is part
    assert layer._compiled_call_impl is call
