"""Sizes at which a module's code goes another way than at the sizes that are proven anyway.

An exporter keeps one side of `if length > 64`. Conditions on sizes come from a run with symbols for sizes, each is
broken by the cheapest sizes that the module takes, and what its code decides there is broken in turn. Where symbols do
not lead through the whole module, it runs as it is at many sizes, and the instructions that it ran are compared.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.core.errors import OutOfMemoryError
from tasks.core.forward.taken_instructions import Instructions
from tasks.core.inputs.breaking_sizes import Case, breaking_cases
from tasks.core.inputs.probes import all_sizes, batch_name, dynamic_dims
from tasks.core.inputs.sizes import traced_sizes
from tasks.core.spec.input_spec import InputSpec

if TYPE_CHECKING:
    from tasks.core.forward.size_conditions import Condition, Way

MAX_WAYS = 16
"""Runs with symbols: nothing known here needs more than four."""
MAX_CASES = 6
"""Cases found by comparing instructions; values may decide, too, and make every run another way."""
MAX_TRIES = 12
"""Cases at which the module is run for one condition, until it takes one."""
MAX_SECONDS = 10.0
"""Of the processor, estimated, of one run of the module: a proof takes some five times as long for it."""
MAX_WATCHED_SECONDS = 10.0
"""Of the processor, of all runs whose instructions are compared."""
MAX_ELEMENTS = 1 << 24
"""Over all inputs of a run."""
LARGEST = 1 << 40
"""Size up to which conditions are looked into where no bound is declared."""


@dataclass(frozen=True)
class Module:
    """What is asked of the module; each takes a case."""

    refusal: Callable[[Case], str]
    """Runs it and says what it raises, or that its answer is not finite; empty: neither."""
    way: "Callable[[Case], Way]"
    """Runs it with symbols."""
    instructions: Callable[[Case], Instructions]
    """Runs it and says which of its code ran."""
    numbers: Callable[[Instructions], set[int]]
    """Numbers in that code, and in the module, that a size may be compared with."""


@dataclass
class OtherWays:
    """What the search found."""

    cases: list[Case] = field(default_factory=list)
    """To be proven, too."""
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Search:
    """The search in one module."""

    def __init__(self, specs: tuple[InputSpec, ...], module: Module, *, proven: Iterable[Case]) -> None:
        """Take the inputs, the module, and the cases that are proven anyway, the traced one first."""
        self._specs, self._module = specs, module
        self._dims, self._batch = dynamic_dims(specs), batch_name(specs)
        self._traced = traced_sizes(specs)
        self._proven = [*proven]
        self._largest = 0, 0.0
        """Elements and seconds of the largest run so far."""
        self.found = OtherWays()

    def run(self) -> OtherWays:
        """Search declared bounds, then conditions, then, where these may not be all, instructions."""
        for case in self._bounds():
            self._add(case)
        if blind := self._break_conditions():
            self._compare_instructions(blind)
        return self.found

    def _add(self, case: Case) -> None:
        self._proven.append(case)
        self.found.cases.append(case)

    def _bounds(self) -> Iterator[Case]:
        """The declared upper bound of each dimension that no case has, beside the cheapest sizes of the others."""
        for name, dim in self._dims.items():
            if dim.high is None or any(case[name] == dim.high for case in self._proven):
                continue
            least = {other: min(case[other] for case in self._proven) for other in self._dims}
            wanted = [*self._cheaper({**self._traced, name: dim.high}, keep=(name,)), {**least, name: dim.high}]
            case = next((case for case in wanted if self._takes(case)), None)
            if case is not None:
                yield case
            elif not any(map(self._is_affordable, wanted)):
                self.found.notes.append(f"{name}={dim.high}, its upper bound, was not run: it takes too much")

    def _break_conditions(self) -> str:
        """Find a case on the other side of each condition, of those that are decided there, and so on.

        Returns:
            Why some conditions may be unknown; empty: they are not.
        """
        waiting, known, blind = [self._traced], set[str](), ""
        for _ in range(MAX_WAYS):
            if not waiting:
                return blind
            sizes = waiting.pop(0)
            way = self._module.way(sizes)
            blind = blind or way.blind
            for index, condition in enumerate(way.conditions):
                if str(condition.expression) not in known:
                    known.add(str(condition.expression))
                    case = self._beyond(condition, way.conditions[:index], sizes)
                    waiting += [case] if case is not None else []
        return blind or "it branches on its sizes in too many places"

    def _beyond(self, condition: "Condition", before: "tuple[Condition, ...]", sizes: Case) -> Case | None:
        """A case that breaks a condition and, if one can, none of those before it; None: the module takes none."""

        def num_lost(case: Case) -> int:
            return sum(earlier.is_broken_at(case) for earlier in before)

        known = min((case for case in self._proven if condition.is_broken_at(case)), key=num_lost, default=None)
        if known is not None and num_lost(known) == 0:
            return known
        broken = [
            self._cheaper(case, keep=condition.names)
            for case in breaking_cases(condition, sizes, self._is_allowed, keeping=before)
        ]
        ranked = sorted(itertools.chain(*broken), key=lambda case: (num_lost(case), self._num_elements(case)))
        affordable = [case for case in ranked if self._is_affordable(case)]
        for case in affordable[:MAX_TRIES]:
            if self._takes(case):
                self._add(case)
                return case
        if known is None and ranked and not affordable:
            names = ", ".join(condition.names)
            self.found.doubts.append(
                f"the module goes another way at {condition}, sizes too large to be run here; declare an upper bound "
                f"below them for {names} (WORD=SIZE:LOW..HIGH)"
            )
        return known

    def _compare_instructions(self, blind: str) -> None:
        """Run the module as it is at sizes that its numbers suggest; another set of instructions is another way."""
        ran = [self._module.instructions(case) for case in self._proven]
        ever, always = frozenset(itertools.chain(*ran)), functools.reduce(frozenset.intersection, ran)
        reached = {name: max(case[name] for case in self._proven) for name in self._dims}
        until = time.process_time() + MAX_WATCHED_SECONDS
        for case in sorted(self._suggested(self._module.numbers(ever)), key=self._num_elements):
            if len(self.found.cases) > MAX_CASES or time.process_time() + 2 * self._seconds_of(case) > until:
                break
            if not self._takes(case):
                continue
            reached = {name: max(size, case[name]) for name, size in reached.items()}
            if not always <= (other := self._module.instructions(case)) <= ever:
                ever, always = ever | other, always & other
                self._add(case)
        shown = ", ".join(f"{name}={size}" for name, size in reached.items() if self._dims[name].high is None)
        if shown:
            self.found.notes.append(
                f"branches on sizes were looked for up to {shown}, as the module can't be followed further ({blind})"
            )

    def _suggested(self, numbers: set[int]) -> list[Case]:
        """Cases around numbers, of growing sizes, and of dimensions that are equal or change places."""
        cases: list[Case] = []
        for name, size in self._traced.items():
            sizes = {number + step for number in numbers for step in (-1, 0, 1)}
            sizes |= {size << power for power in range(1, 7)}
            cases += (self._cheaper({**self._traced, name: other}, keep=(name,))[0] for other in sizes)
        for (first, one), (second, other) in itertools.combinations(self._traced.items(), 2):
            changed = ((other, other), (one, one), (other, one))
            pairs = ({**self._traced, first: new, second: newer} for new, newer in changed)
            cases += (self._cheaper(case, keep=(first, second))[0] for case in pairs)
        cases = [case for case in cases if all(self._is_allowed(*item) for item in case.items())]
        return [*{tuple(case.items()): case for case in cases if case not in self._proven}.values()]

    def _cheaper(self, case: Case, *, keep: tuple[str, ...]) -> list[Case]:
        """The case with as small a batch as can be, unless that is to be kept; and the case itself."""
        if self._batch is None or self._batch in keep:
            return [case]
        return [{**case, self._batch: min(other[self._batch] for other in self._proven)}, case]

    def _takes(self, case: Case) -> bool:
        """Is it affordable, and does the module run?"""
        return self._is_affordable(case) and self._run(case)

    def _run(self, case: Case) -> bool:
        started, size = time.process_time(), self._num_elements(case)
        try:
            if self._module.refusal(case):
                return False
        except OutOfMemoryError:
            return False
        if size >= self._largest[0]:
            self._largest = size, time.process_time() - started
        return True

    def _is_allowed(self, name: str, size: int) -> bool:
        dim = self._dims[name]
        return max(dim.low, 1) <= size <= (LARGEST if dim.high is None else dim.high)

    def _is_affordable(self, case: Case) -> bool:
        return self._num_elements(case) <= MAX_ELEMENTS and self._seconds_of(case) <= MAX_SECONDS

    def _seconds_of(self, case: Case) -> float:
        if not self._largest[0]:
            self._run(self._traced)
        size, seconds = self._largest
        return seconds * max(1.0, self._num_elements(case) / max(size, 1))

    def _num_elements(self, case: Mapping[str, int]) -> int:
        sizes = all_sizes(self._specs, case)
        return sum(math.prod(sizes[d.name] if d.name else d.size or 1 for d in spec.dims) for spec in self._specs)
