"""Conditions on sizes that the Python code around a module's operators decides, such as `if x.shape[1] > 64`.

The module runs once on tensors without values, whose dynamic dimensions are symbols with a size each. What its code
makes of a symbol, a truth value or a number, is noted with the model's own line. What an operator decides inside itself
is not: it decides anew at each size, in a file, too.
"""

import contextlib
import itertools
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sympy
import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import Source
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

from tasks.core.errors import is_own_fault, one_line
from tasks.core.forward.arguments import Arguments
from tasks.core.forward.conditions import Condition, Way
from tasks.core.forward.loaded_state import LoadedState
from tasks.core.forward.outputs import flatten
from tasks.core.forward.switches import same_way
from tasks.core.limits import MAX_SYMBOLIC_SECONDS
from tasks.core.source_lines import callers, innermost, without_folder

_TORCH = Path(torch.__file__).parent
_SYMBOLS = f"{_TORCH}/__init__.py"
"""Where PyTorch's symbols are asked for a Python value; its C++ code asks elsewhere."""
_INSIDE_OPERATORS = tuple(f"{_TORCH}/_{part}" for part in ("decomp", "meta", "prims", "refs", "subclasses"))


def way_at(model: nn.Module, arguments: Callable[[Mapping[str, Any]], Arguments], sizes: Mapping[str, int]) -> Way:
    """Run a module on tensors without values, and note what it decides about sizes.

    Args:
        model: in eval mode; what it sets on itself meanwhile is undone.
        arguments: makes args and kwargs of forward from a symbol a dynamic dimension.
        sizes: of these dimensions.
    """
    watch, _, blind = _followed(model, arguments, sizes)
    return Way(tuple(watch.conditions.values()), blind or watch.made_numbers, tuple(watch.limits.values()))


def fixed_output_dims(
    model: nn.Module, arguments: Callable[[Mapping[str, Any]], Arguments], sizes: Mapping[str, int]
) -> list[tuple[int | None, ...]]:
    """The size of each output dimension that is the same at all sizes, else None, an output each; empty: not known.

    Args:
        model: in eval mode; what it sets on itself meanwhile is undone.
        arguments: makes args and kwargs of forward from a symbol a dynamic dimension.
        sizes: of these dimensions.
    """
    watch, output, blind = _followed(model, arguments, sizes)
    if blind or watch.made_numbers or watch.conditions:
        return []
    shapes = [tensor.shape for _, tensor in flatten(output)]
    return [tuple(size if isinstance(size, int) else None for size in shape) for shape in shapes]


def _followed(
    model: nn.Module, arguments: Callable[[Mapping[str, Any]], Arguments], sizes: Mapping[str, int]
) -> tuple["_Watch", Any, str]:
    """Run a module on tensors without values: what was watched, what it returned, and why it may be half-known."""
    watch = _Watch()
    mode = FakeTensorMode(shape_env=watch, allow_non_fake_inputs=True)
    output, blind = None, ""
    loaded = LoadedState(model)
    with _one_step(), _rounding_noted(), _silent(), same_way(), torch.no_grad(), mode, enable_python_dispatcher():
        try:
            args, kwargs = arguments({name: watch.dimension(name, size) for name, size in sizes.items()})
            output = model(*args, **kwargs)
        except Exception as error:  # the module may need values, or an operator may know no symbols
            if is_own_fault(error):
                raise
            blind = re.split(r"[.(;] ", one_line(f"{type(error).__name__}: {error}"))[0]
    loaded.restore()
    return watch, output, blind


@dataclass(frozen=True)
class _Dimension(Source):
    """Where a symbol comes from, as PyTorch wants to know."""

    word: str

    @property
    def _name_template(self) -> str:
        return self.word


class _Watch(ShapeEnv):
    """Sizes as symbols. Each question about them is answered for the size that they have, and never remembered."""

    def __init__(self) -> None:
        super().__init__(specialize_zero_one=False, duck_shape=False)
        self.conditions: dict[tuple[str, bool], Condition] = {}
        self.limits: dict[sympy.Basic, Condition] = {}
        self.made_numbers = ""
        self._names: dict[sympy.Symbol, sympy.Symbol] = {}
        self._until = time.process_time() + MAX_SYMBOLIC_SECONDS

    def dimension(self, name: str, size: int) -> torch.SymInt:
        """A size for use in shapes."""
        source = _Dimension(name)
        symbol = self.create_symbol(size, source, dynamic_dim=DimDynamic.DYNAMIC, constraint_dim=None)
        self._names[symbol] = sympy.Symbol(name, integer=True, positive=True)
        made = self.create_symintnode(symbol, hint=size, source=source)
        assert isinstance(made, torch.SymInt)
        return made

    def evaluate_expr(self, orig_expr: sympy.Basic, hint: Any = None, *args: Any, **kwargs: Any) -> sympy.Basic:
        if time.process_time() > self._until:
            raise TimeoutError(f"its sizes were still being followed after {MAX_SYMBOLIC_SECONDS:.0f} s")
        if hint is None or not orig_expr.free_symbols <= self._names.keys():
            return super().evaluate_expr(orig_expr, hint, *args, **kwargs)
        if orig_expr.free_symbols:
            self._note(orig_expr, hint)
        return sympy.sympify(hint)

    def _note(self, asked: sympy.Basic, value: Any) -> None:
        line, by_python, by_operator = _asking()
        expression = asked.xreplace(self._names)
        if not isinstance(value, bool):
            # of an operator it is the number of its results, as of a split
            self.made_numbers = self.made_numbers or ("" if by_operator else f"{line} makes a number of a size")
            expression, value, by_python = sympy.Eq(expression, value), True, True
        if by_python:
            self.conditions.setdefault((str(expression), value), Condition(expression, value, line))
        elif len(asked.free_symbols) == 1:
            self.limits.setdefault(expression, Condition(expression, value, line))


def _asking() -> tuple[str, bool, bool]:
    """The model's line that asks for the value of a symbol; does Python code ask, does an operator, inside itself?"""
    lines = list(callers(sys._getframe(3)))
    found = innermost(lines)
    inner = [file for file, _ in itertools.takewhile(lambda line: line != found, lines)]
    by_operator = any(file.startswith(_INSIDE_OPERATORS) for file in inner)
    return without_folder(found), _SYMBOLS in inner and not by_operator, by_operator


@contextlib.contextmanager
def _one_step() -> Iterator[None]:
    """Within this context recurrent layers give empty tensors.

    Followed step by step, 100 steps of a GRU take 12 s; and an LSTM once followed under symbols is unrolled by every
    export after it.
    """

    def empty(data: torch.Tensor, state: Any, *options: Any) -> tuple[torch.Tensor, ...]:
        is_packed = not isinstance(options[0], list)  # of weights; with sizes of its batches before the state
        states = options[0] if is_packed else state
        is_bidirectional = options[6] if is_packed else options[5]
        states = states if isinstance(states, tuple) else (states,)
        size = states[0].shape[-1] * (2 if is_bidirectional else 1)
        return data.new_empty((*data.shape[:-1], size)), *map(torch.empty_like, states)

    with contextlib.ExitStack() as stack:
        for name in ("gru", "lstm", "rnn_tanh", "rnn_relu"):
            stack.enter_context(patch.object(torch._VF, name, empty))
        yield


@contextlib.contextmanager
def _rounding_noted() -> Iterator[None]:
    """Within this context what `math` rounds is a condition: it stays a symbol, of which a trace makes a number."""

    def noting(function: Callable[[torch.SymFloat], Any]) -> Callable[[torch.SymFloat], Any]:
        def noted(size: torch.SymFloat) -> Any:
            rounded = function(size)
            if isinstance(rounded, torch.SymInt):
                bool(rounded == rounded.node.hint)
            return rounded

        return noted

    with contextlib.ExitStack() as stack:
        for name in ("__ceil__", "__floor__", "__trunc__"):
            stack.enter_context(patch.object(torch.SymFloat, name, noting(getattr(torch.SymFloat, name))))
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence what PyTorch logs of operators that refuse symbols."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
