"""Record of one run of a module: a data-flow graph of operators and of values, which have numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.core.arrays import Array


@dataclass
class Call:
    """One call of an ATen operator."""

    name: str
    """With its overload, e.g. `aten.relu.default`."""
    module_path: str
    """Path of the innermost module whose forward was running."""
    module_class: str
    source: str
    """`package/file.py:LINE` of the innermost frame outside PyTorch."""
    inputs: tuple[int, ...]
    """Numbers of its tensor arguments, without parameters."""
    options: tuple[bool | int | float | str, ...] = ()
    """Numbers and words among its arguments."""
    outputs: tuple[int, ...] = ()
    intermediates: tuple[int, ...] = ()
    """Numbers of values that exporters compute on the way to the outputs (see `intermediates`)."""


@dataclass
class Addition:
    """A residual addition x + f(x)."""

    call: Call
    total: Array
    """Some elements of the sum."""
    branch: Array
    """The same elements of f(x)."""


@dataclass
class Trace:
    """Calls and values of one run, in order."""

    calls: list[Call] = field(default_factory=list)
    producer: dict[int, int] = field(default_factory=dict)
    """Number of a value -> index of the call that computed it; inputs and constants have none."""
    outputs: tuple[int, ...] = ()
    """Numbers of the tensors that forward returned, in the order of pytree."""
    constants: set[int] = field(default_factory=set)
    """Numbers of the values that do not depend on the inputs."""
    additions: list[Addition] = field(default_factory=list)

    def call_of(self, value: int) -> Call | None:
        """The call that computed a value; None for inputs and constants."""
        index = self.producer.get(value)
        return None if index is None else self.calls[index]

    def branch(self, operands: Sequence[int], *, module_path: str, since: int) -> int | None:
        """Which operand of an addition x + f(x), 0 or 1, is the branch f(x) of a residual block; None: it ends none.

        It is the one that is computed from the other. Where the shortcut has weights of its own, as a downsampling
        convolution has, neither is; then both must be computed by children of the running module, and the branch is
        the one with more operators.

        Args:
            operands: numbers of the two values.
            module_path: of the running module.
            since: number of calls before the module's own.
        """
        for index, trunk in ((0, 1), (1, 0)):
            since_trunk = self._calls_behind(operands[index], since=self.producer.get(operands[trunk], 0))
            if any(operands[trunk] in self.calls[i].inputs for i in since_trunk):
                return index
        behind = [self._calls_behind(value, since=since) for value in operands]
        if module_path and all(any(self.calls[i].module_path != module_path for i in indices) for indices in behind):
            return 0 if len(behind[0]) >= len(behind[1]) else 1
        return None

    def _calls_behind(self, value: int, *, since: int) -> set[int]:
        """Indices of the calls, from one on, that a value is computed from."""
        waiting, found = [value], set[int]()
        while waiting:
            index = self.producer.get(waiting.pop(), -1)
            if index >= since and index not in found:
                found.add(index)
                waiting += self.calls[index].inputs
        return found
