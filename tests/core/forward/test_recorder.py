"""Operators of a run are recorded with their values, modules and source lines."""

from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.forward.precision import run_float32, run_float64
from tasks.core.forward.recorder import Recorder
from tasks.core.forward.traces import Call, Trace


class Block(nn.Module):
    """A residual block with a value written in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch."""
        return x + self.layer(x).relu_()


def _trace(model: nn.Module, x: torch.Tensor, *, run: Any = run_float32, **options: Any) -> Trace:
    recorder = Recorder(model, **options)
    with recorder.watching():
        run(model, (x,), {})
    return recorder.trace


def test_values_modules_and_lines_are_recorded() -> None:
    """Each operator knows its module, its line without a folder, and whom it got its inputs from."""
    model, x = Block().eval(), torch.randn(3, 8)
    values: dict[int, np.ndarray] = {}
    recorded = _trace(model, x, receive=lambda number, _call, value: values.update({number: value}))
    add = recorded.call_of(recorded.outputs[0])
    assert isinstance(add, Call)
    assert (add.name, add.module_path, add.module_class) == ("aten.add.Tensor", "", "Block")
    assert add.source.startswith("test_recorder.py:")
    assert "layer" in {call.module_path for call in recorded.calls}
    with torch.no_grad():
        assert np.array_equal(values[recorded.outputs[0]], model(x).numpy())
    assert "forward" not in vars(model)


def test_all_precisions_run_the_same_operators() -> None:
    """The mode is above the one that casts, so values of both runs have the same numbers."""
    model, x = Block().eval(), torch.randn(3, 8)
    names = [[call.name for call in _trace(model, x, run=run).calls] for run in (run_float32, run_float64)]
    assert names[0] == names[1]


def test_some_elements_of_residual_additions_are_kept() -> None:
    """The sum and its branch, element by element."""
    model, x = Block().eval(), torch.randn(3, 8)
    (addition,) = _trace(model, x, keep_additions=True).additions
    assert np.allclose(addition.total - addition.branch, x.numpy().reshape(-1), atol=1e-6)
    assert addition.call.name == "aten.add.Tensor"


def test_intermediate_values_of_a_decomposed_operator_are_recorded() -> None:
    """Of a linear layer also the product without the bias, which exporters compute first."""
    model, x = nn.Linear(8, 4).eval(), torch.randn(3, 8)
    values: dict[int, np.ndarray] = {}
    recorded = _trace(model, x, receive=lambda number, _call, value: values.update({number: value}))
    call = recorded.call_of(recorded.outputs[0])
    assert call is not None
    (product,) = call.intermediates
    assert np.allclose(values[product], (x @ model.weight.detach().T).numpy(), atol=1e-6)
