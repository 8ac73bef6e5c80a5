"""Sizes at which a module's code goes another way than at the sizes that are proven anyway.

An exporter keeps one side of `if length > 64`. Conditions on sizes come from a run with symbols for sizes, each is
broken by the cheapest sizes that the module takes, and what its code decides there is broken in turn. Where symbols do
not lead through the whole module, it runs as it is at many sizes, and the instructions that it ran are compared.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.core.forward.taken_instructions import Instructions
from tasks.core.inputs.breaking_sizes import Case, breaking_cases
from tasks.core.inputs.runs import Runs
from tasks.core.limits import (
    MAX_FAR_SECONDS,
    MAX_LIMIT_GROWTH,
    MAX_LIMIT_SECONDS,
    MAX_OTHER_WAYS,
    MAX_SYMBOLIC_RUNS,
    MAX_SYMBOLIC_SECONDS,
    MAX_TRIES,
    MAX_WATCHED_SECONDS,
)
from tasks.core.spec.input_spec import InputSpec

if TYPE_CHECKING:
    from tasks.core.forward.conditions import Condition, Way


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
    tables: set[int]
    """Lengths of its tables."""


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
        self._module, self._runs = module, Runs(specs, module.refusal)
        self._dims, self._traced = self._runs.dims, self._runs.traced
        self._proven = [*proven]
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
            case = next(filter(self._runs.takes, wanted), None)
            if case is not None:
                yield case
            elif not any(map(self._runs.is_affordable, wanted)):
                self.found.notes.append(f"{name}={dim.high}, its upper bound, was not run: it takes too much")

    def _break_conditions(self) -> str:
        """Find a case on the other side of each condition, of those that are decided there, and so on.

        Returns:
            Why some conditions may be unknown; empty: they are not.
        """
        waiting, known, blind = [self._traced], set[str](), ""
        until = time.process_time() + MAX_SYMBOLIC_SECONDS
        for _ in range(MAX_SYMBOLIC_RUNS):
            if not waiting or time.process_time() > until:
                break
            sizes = waiting.pop(0)
            way = self._module.way(sizes)
            blind = blind or way.blind
            if sizes == self._traced:
                self._find_limits(way)
            for index, condition in enumerate(way.conditions):
                if len(self.found.cases) >= MAX_OTHER_WAYS:
                    return blind or "it branches on its sizes in too many places"
                if str(condition.expression) not in known:
                    known.add(str(condition.expression))
                    case = self._beyond(condition, way.conditions[:index], sizes)
                    waiting += [case] if case is not None else []
        return blind or ("it takes too many ways" if waiting else "")

    def _find_limits(self, way: "Way") -> None:
        """Add the last size that the module takes, where operators or the lengths of its tables tell of one."""
        for name, size in self._traced.items():
            edges = {edge for limit in way.limits if limit.names == (name,) for edge in limit.edges(name, self._traced)}
            near = {e for e in (*edges, *self._module.tables) if size < e <= MAX_LIMIT_GROWTH * size}
            for edge in sorted(near) if name != self._runs.batch else ():
                last, beyond = (self._cheaper({**self._traced, name: edge + step}, keep=(name,))[0] for step in (0, 1))
                if last in self._proven or not self._runs.is_allowed(name, edge + 1):
                    continue
                is_cheap = self._runs.is_affordable(beyond) and self._runs.seconds_of(beyond) <= MAX_LIMIT_SECONDS
                if is_cheap and not self._runs.takes(beyond):
                    if self._runs.takes(last):
                        self._add(last)
                    break

    def _beyond(self, condition: "Condition", before: "tuple[Condition, ...]", sizes: Case) -> Case | None:
        """A case that breaks a condition and, if one can, none of those before it; None: the module takes none."""

        def num_lost(case: Case) -> int:
            return sum(earlier.is_broken_at(case) for earlier in before)

        known = min((case for case in self._proven if condition.is_broken_at(case)), key=num_lost, default=None)
        if known is not None and num_lost(known) == 0:
            return known
        broken = [
            self._cheaper(case, keep=condition.names)
            for case in breaking_cases(condition, sizes, self._runs.is_allowed, keeping=before)
        ]
        ranked = sorted(itertools.chain(*broken), key=lambda case: (num_lost(case), self._runs.num_elements(case)))
        affordable = [case for case in ranked if self._runs.is_affordable(case)]
        for case in affordable[:MAX_TRIES]:
            if self._runs.takes(case):
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
        """Run the module as it is at sizes that its numbers suggest; another set of instructions is another way.

        The largest size of each dimension but the batch is another one, too: Python's own functions, such as `max` of
        a number, branch without an instruction.
        """
        ran = [self._module.instructions(case) for case in self._proven]
        ever, always = frozenset(itertools.chain(*ran)), functools.reduce(frozenset.intersection, ran)
        reached = {name: max(case[name] for case in self._proven) for name in self._dims}
        largest: dict[str, Case] = {}
        until = time.process_time() + MAX_WATCHED_SECONDS
        for case in sorted(self._suggested(self._module.numbers(ever)), key=self._runs.num_elements):
            if len(self.found.cases) >= MAX_OTHER_WAYS or time.process_time() + 2 * self._runs.seconds_of(case) > until:
                break
            if not self._runs.takes(case):
                continue
            if self._runs.seconds_of(case) <= MAX_FAR_SECONDS:
                largest |= {name: case for name, size in reached.items() if case[name] > size}
            reached = {name: max(size, case[name]) for name, size in reached.items()}
            if not always <= (other := self._module.instructions(case)) <= ever:
                ever, always = ever | other, always & other
                self._add(case)
        largest.pop(self._runs.batch or "", None)
        for case in largest.values():
            if case not in self._proven:
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
        cases = [case for case in cases if all(self._runs.is_allowed(*item) for item in case.items())]
        return [*{tuple(case.items()): case for case in cases if case not in self._proven}.values()]

    def _cheaper(self, case: Case, *, keep: tuple[str, ...]) -> list[Case]:
        """The case with as small a batch as can be, unless that is to be kept; and the case itself."""
        batch = self._runs.batch
        if batch is None or batch in keep:
            return [case]
        return [{**case, batch: min(other[batch] for other in self._proven)}, case]
