"""Does a module give equal answers to equal inputs? f(a), f(b), f(a) must repeat; if not, why."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from tasks.core.forward.precision import run_float32
from tasks.core.inputs.probes import Probe
from tasks.core.reference.reference import Reference


class _RandomOperators(TorchDispatchMode):
    """Notes operators that draw random numbers, and the module that calls them."""

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self._tracker = tracker
        self.found: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            path = max(self._tracker.parents - {"Global"}, key=len, default="").partition(".")[2]
            self.found[f"{func.overloadpacket} in {path or 'forward'}"] = None
        return func(*args, **(kwargs or {}))


def unrepeatable(reference: Reference, names: list[str]) -> str:
    """Why the module does not repeat its answers; empty where it does.

    Args:
        reference: of the module; its answers to the first two probes are used.
        names: of the outputs.
    """
    if reference.unrepeatable is None:
        reference.unrepeatable = _reason(reference, names)
    return reference.unrepeatable


def _reason(reference: Reference, names: list[str]) -> str:
    first, second = reference.inputs.probes[:2]
    before = reference.float32(first)
    reference.float32(second)
    after = reference.again(first)
    different = next((name for name, a, b in zip(names, before, after, strict=False) if not _equal(a, b)), None)
    if different is None:
        return ""
    found = f"{different} differs when the same input comes again after another"
    if operators := _random_operators(reference, first):
        return (
            f"{found}: the module draws random numbers ({', '.join(operators)}), so no file can be proven equal to it; "
            f"take the randomness out of forward, or pass it in as an input"
        )
    changed = _changed_state(reference, second)
    where = f" in {', '.join(changed)}" if changed else ""
    return (
        f"{found}: the module keeps state{where}, so no file can be proven equal to it; "
        f"make the state an input and an output"
    )


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _random_operators(reference: Reference, probe: Probe) -> list[str]:
    args, kwargs = reference.inputs.arguments(reference.inputs.arrays(probe))
    with ModuleTracker() as tracker, _RandomOperators(tracker) as operators:
        run_float32(reference.model, args, kwargs)
    return list(operators.found)


def _changed_state(reference: Reference, probe: Probe) -> list[str]:
    """Buffers and plain attributes that one call changes."""
    before = _state(reference.model)
    reference.again(probe)
    after = _state(reference.model)
    return [name for name in after if before.get(name) != after[name]]


def _state(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for path, module in model.named_modules():
        own = {k: v for k, v in vars(module).items() if not k.startswith("_") and not isinstance(v, nn.Module)}
        for name, value in {**own, **module._buffers}.items():
            state[f"{path}.{name}" if path else name] = _snapshot(value)
    return state


def _snapshot(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().tobytes()
    if isinstance(value, list | tuple | set | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [(str(key), _snapshot(item)) for key, item in items]
    return value if isinstance(value, int | float | str | bool | None) else id(value)
