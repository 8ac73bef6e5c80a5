"""What one run of a module computed: its operators, and the values that pass between them, by number."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.core.arrays import Array


@dataclass
class Call:
    """One call of an ATen operator."""

    name: str
    """With its overload, e.g. `aten.relu.default`."""
    module_path: str
    """Of the innermost module that is running."""
    module_class: str
    source: str
    """`package/file.py:LINE` of the innermost frame outside PyTorch."""
    inputs: tuple[int, ...]
    """Numbers of the values that its tensor arguments are; parameters are left out."""
    outputs: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    """Values on its way to its outputs, which exporters may spell out (see operator_parts)."""


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
    """What one run of a module computed."""

    calls: list[Call] = field(default_factory=list)
    giver: dict[int, int] = field(default_factory=dict)
    """Number of a value -> index of the call that gave it; inputs and constants have none."""
    outputs: tuple[int, ...] = ()
    """Numbers of the tensors that forward returned, in the order of pytree."""
    constants: set[int] = field(default_factory=set)
    """Numbers of the values that do not depend on the inputs."""
    additions: list[Addition] = field(default_factory=list)

    def call_of(self, value: int) -> Call | None:
        """The call that gave a value."""
        index = self.giver.get(value)
        return None if index is None else self.calls[index]

    def branch(self, operands: Sequence[int], *, module_path: str, since: int) -> int | None:
        """Which operand of an addition is the branch of a residual block; None: it ends none.

        It is the one that is computed from the other. Where a shortcut has weights of its own, as a downsampling
        convolution has, neither is; then both must come out of children of the running module, and the branch is the
        longer way.

        Args:
            operands: numbers of the two.
            module_path: of the running module.
            since: number of calls before the module's own.
        """
        for place, trunk in ((0, 1), (1, 0)):
            if self._descends(operands[place], operands[trunk]):
                return place
        lengths = [self._length_in_module(number, module_path, since) for number in operands]
        return lengths.index(max(lengths)) if all(lengths) else None

    def _length_in_module(self, value: int, module_path: str, since: int) -> int:
        """Number of operators on the way to a value since the module began; 0 where no child of it is among them."""
        waiting, seen = [value], set[int]()
        while waiting:
            index = self.giver.get(waiting.pop(), -1)
            if index >= since and index not in seen:
                seen.add(index)
                waiting += self.calls[index].inputs
        children = module_path and any(self.calls[index].module_path != module_path for index in seen)
        return len(seen) if children else 0

    def _descends(self, value: int, ancestor: int) -> bool:
        waiting, seen = [value], {value}
        first = self.giver.get(ancestor, -1)
        while waiting:
            index = self.giver.get(waiting.pop(), -1)
            if index < first or index < 0:
                continue
            if ancestor in self.calls[index].inputs:
                return True
            new = [number for number in self.calls[index].inputs if number not in seen]
            seen.update(new)
            waiting += new
        return False
