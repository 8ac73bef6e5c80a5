"""Which values of a file are the module's: what is right, what is not, and which nodes make the difference."""

from collections.abc import Iterator, Mapping, Sequence

from tasks.core.arrays import Array, rms
from tasks.core.limits import CLOSE, OWN_LIMIT
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.reference.traced_values import TracedValues, is_float


class FileValues:
    """The values of one file on one probe, held against those of the module."""

    def __init__(
        self,
        graph: OnnxGraph,
        traced: TracedValues,
        arrays: Mapping[str, Array],
        *,
        output_order: Sequence[int],
        limit: float,
    ) -> None:
        """Run the file.

        Args:
            graph: of the file.
            traced: the module's values on the same probe.
            arrays: of the probe, by the file's names.
            output_order: which of the file's outputs is the module's first, second…
            limit: noise ratio up to which a value is the module's.
        """
        self.graph, self.traced, self.limit = graph, traced, limit
        self.values, self.stopped, self.said = graph.run(arrays)
        self.values |= arrays
        self.found: dict[str, list[int]] = {
            name: traced.find(array, limit=limit) for name, array in self.values.items() if name not in graph.constants
        }
        """Numbers of the module's values that each value is."""
        self.outputs = [
            (graph.outputs[place], number)
            for place, number in zip(output_order, traced.trace.outputs, strict=False)
            if graph.outputs[place] in self.values and number in traced.values
        ]
        """Names of the outputs, and numbers of what they should be."""
        for name, number in self.outputs:  # an output may be a lone number, or zero
            if not self.found.get(name) and traced.ratio(self.values[name], number) <= limit:
                self.found[name] = [number]
        self.right = self._right()

    def current(self, index: int) -> dict[str, Array]:
        """What the file feeds a node."""
        names = (n for n in self.graph.inputs[index] if n not in self.graph.initializers)
        return {name: self.values[name] for name in names if name in self.values}

    def made(self, index: int) -> list[str]:
        """What a node gives that depends on the inputs, and that something takes."""
        names = [name for name in self.graph.nodes[index].output if name in self.values]
        used = [name for name in names if name in self.graph.takers or name in self.graph.outputs]
        return [name for name in used if name not in self.graph.constants]

    def wrong_of(self, index: int) -> str:
        """The first thing a node gives that is not right; if all is, the first."""
        made = self.made(index) or list(self.graph.nodes[index].output)
        return next((name for name in made if name not in self.right), made[0])

    def suspects(self) -> Iterator[int]:
        """Nodes that make what is not right from what is, in the order in which they run."""
        for index in range(len(self.graph.nodes) if self.stopped is None else self.stopped):
            data = self.graph.data(index)
            made = self.made(index)
            if index in self.graph.live and self.right.issuperset(data) and not self.right.issuperset(made):
                yield index

    def own_errors(self) -> Iterator[int]:
        """Nodes that take values of the module and give nearly another one, but not quite."""
        present = {self.traced.first_of[number] for numbers in self.found.values() for number in numbers}
        missing: dict[int, list[int]] = {}
        for number, value in self.traced.values.items():
            if self.traced.first_of[number] == number and number not in present and is_float(value):
                missing.setdefault(value.size, []).append(number)
        for index in sorted(self.graph.live):
            if not all(self.found.get(name) or name in self.graph.feeds for name in self.graph.data(index)):
                continue
            floats = [name for name in self.made(index) if not self.found.get(name) and is_float(self.values[name])]
            pairs = ((name, number) for name in floats for number in missing.get(self.values[name].size, ()))
            if any(self._nearly_gives(index, name, number) for name, number in pairs):
                yield index

    def _nearly_gives(self, index: int, name: str, number: int) -> bool:
        """Is a value close to one of the module's that follows from what the node takes, and beyond its noise?"""
        array, wanted = self.values[name], self.traced.values[number]
        ratio = self.traced.ratio(array, number)
        difference = ratio * self.traced.noise[number]
        if not OWN_LIMIT < ratio < float("inf") or not difference < CLOSE * rms(wanted):
            return False
        taken = {n for data in self.graph.data(index) for n in self.found.get(data, ())}
        return not taken.isdisjoint(self.traced.ancestors(number, depth=4))

    def serves_others(self, giver: int, index: int) -> bool:
        """Is what a node gives taken by another node, too, which makes of it what is right?"""
        takers = {taker for name in self.made(giver) for taker in self.graph.takers.get(name, ())} - {index}
        return any(self.found.get(name) for taker in takers for name in self.graph.nodes[taker].output)

    def is_in_place(self, index: int) -> bool:
        """Does a node give a value of the module that no other node gives?"""
        numbers = {n for name in self.made(index) for n in self.found.get(name, ())}
        firsts = {self.traced.first_of[number] for number in numbers}
        same = [name for name, found in self.found.items() if any(self.traced.first_of[n] in firsts for n in found)]
        makers = {self.graph.giver.get(name) for name in same} - {index}
        return bool(numbers) and all(maker is None or self._relays(maker) for maker in makers)

    def _relays(self, index: int) -> bool:
        """Has what a node gives the elements of what it takes?"""
        firsts = [
            {self.traced.first_of[n] for name in names for n in self.found.get(name, ())}
            for names in (self.graph.data(index), self.made(index))
        ]
        return not firsts[0].isdisjoint(firsts[1])

    def _right(self) -> set[str]:
        """Values that the module computes, and those of which all that is made is right."""
        right = {name for name, numbers in self.found.items() if numbers} | set(self.graph.feeds)
        for index in reversed(range(len(self.graph.nodes))):
            for name in self.graph.nodes[index].output:
                takers = [taker for taker in self.graph.takers.get(name, ()) if taker in self.graph.live]
                made = [made for taker in takers for made in self.made(taker)]
                if name not in self.graph.outputs and made and right.issuperset(made):
                    right.add(name)
        return right
