"""Compare every value of a file with those of the module: which are right, and at which nodes wrong ones begin."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tasks.core.arrays import Array, rms
from tasks.core.limits import CLOSE, FEW_CLOSE, MIN_SLICE_ELEMENTS, OWN_LIMIT
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.reference.traced_values import TracedValues, is_float


class FileValues:
    """The values of one file on one probe, matched with those of the module.

    A value is right if the module computes it, too, or if all that is computed from it is right.
    """

    def __init__(
        self, graph: OnnxGraph, traced: TracedValues, arrays: Mapping[str, Array], *, order: Sequence[int], limit: float
    ) -> None:
        """Run the file, whose outputs come in this order, on a probe; noise ratios up to `limit` are right."""
        self.graph, self.traced, self.limit = graph, traced, limit
        self.values, self.stopped, self.said = graph.run(arrays)
        self.values |= arrays
        self.found: dict[str, list[int]] = {
            name: traced.find(array, limit=limit) for name, array in self.values.items() if name not in graph.constants
        }
        """By name of a value of the file: numbers of the module's values that equal it."""
        self.outputs = [
            (graph.outputs[index], number)
            for index, number in zip(order, traced.trace.outputs, strict=False)
            if graph.outputs[index] in self.values and number in traced.values
        ]
        """Names of the file's outputs, each with the number of the module's value that it should be."""
        for name, number in self.outputs:  # an output may be a lone number, or zero
            if not self.found.get(name) and traced.ratio(self.values[name], number) <= limit:
                self.found[name] = [number]
        self.right = self._right()

    def inputs_of(self, index: int) -> dict[str, Array]:
        """The arrays that a node of the file takes, by name, initializers left out."""
        names = (n for n in self.graph.inputs[index] if n not in self.graph.initializers)
        return {name: self.values[name] for name in names if name in self.values}

    def _data_outputs(self, index: int) -> list[str]:
        """Outputs of a node that depend on the graph's inputs and are used."""
        names = [name for name in self.graph.nodes[index].output if name in self.values]
        used = [name for name in names if name in self.graph.consumers or name in self.graph.outputs]
        return [name for name in used if name not in self.graph.constants]

    def wrong_output(self, index: int) -> str:
        """The first output of a node that is not right; the first one if all are."""
        names = self._data_outputs(index) or list(self.graph.nodes[index].output)
        return next((name for name in names if name not in self.right), names[0])

    def suspects(self) -> Iterator[int]:
        """Nodes that compute a wrong output from right inputs, in the order in which they run."""
        for index in range(len(self.graph.nodes) if self.stopped is None else self.stopped):
            inputs, outputs = self.graph.data_inputs(index), self._data_outputs(index)
            is_wrong = self.right.issuperset(inputs) and not self.right.issuperset(outputs)
            if index in self.graph.reaching_outputs and is_wrong:
                yield index

    def own_errors(self) -> Iterator[int]:
        """Nodes that take values of the module and give one that is close to another of its values, but not equal."""
        present = self._firsts(self.found)
        missing: dict[int, list[int]] = {}
        for number, value in self.traced.values.items():
            is_known = self.traced.first_of[number] == number and value.size > 1  # lone numbers are not looked up
            if is_known and number not in present and is_float(value):
                missing.setdefault(value.size, []).append(number)
        for index in sorted(self.graph.reaching_outputs):
            inputs, outputs = self.graph.data_inputs(index), self._data_outputs(index)
            if all(self.found.get(name) or name in self.graph.feeds for name in inputs) and any(
                self._nearly_computes(index, name, number)
                for name in outputs
                if not self.found.get(name) and is_float(self.values[name])
                for number in missing.get(self.values[name].size, ())
            ):
                yield index

    def has_right_consumer(self, producer: int, index: int) -> bool:
        """Does another consumer than `index` compute a correct value from the output of `producer`?

        Args:
            producer: index of the node.
            index: of the consumer that does not count.
        """
        outputs = self._data_outputs(producer)
        others = {consumer for name in outputs for consumer in self.graph.consumers.get(name, ())} - {index}
        return any(self.found.get(name) for consumer in others for name in self.graph.nodes[consumer].output)

    def is_only_producer(self, index: int) -> bool:
        """Does a node compute a value of the module that no other node computes?"""
        firsts = self._firsts(self._data_outputs(index))
        same = [name for name in self.found if not firsts.isdisjoint(self._firsts([name]))]
        others = {self.graph.producer.get(name) for name in same} - {index}
        return bool(firsts) and all(other is None or self._passes_on(other) for other in others)

    def _nearly_computes(self, index: int, name: str, number: int) -> bool:
        """Is an output close to a value of the module that is computed from the node's inputs, yet beyond its noise?"""
        array, wanted = self.values[name], self.traced.values[number]
        ratio = self.traced.ratio(array, number)
        difference = ratio * self.traced.noise[number]
        close = CLOSE if array.size >= MIN_SLICE_ELEMENTS else FEW_CLOSE
        if not OWN_LIMIT < ratio < float("inf") or not difference < close * rms(wanted):
            return False
        taken = {n for data in self.graph.data_inputs(index) for n in self.found.get(data, ())}
        return not taken.isdisjoint(self.traced.ancestors(number, depth=4))

    def _passes_on(self, index: int) -> bool:
        """Has a node's output the elements of its input?"""
        inputs, outputs = self.graph.data_inputs(index), self._data_outputs(index)
        return not self._firsts(inputs).isdisjoint(self._firsts(outputs))

    def _firsts(self, names: Iterable[str]) -> set[int]:
        """Numbers of the module's values that values of the file equal, of equal ones the first."""
        return {self.traced.first_of[number] for name in names for number in self.found.get(name, ())}

    def _right(self) -> set[str]:
        """Values that the module computes, and those whose consumers compute right values only."""
        right = {name for name, numbers in self.found.items() if numbers} | set(self.graph.feeds)
        for index in reversed(range(len(self.graph.nodes))):
            for name in self.graph.nodes[index].output:
                consumers = [c for c in self.graph.consumers.get(name, ()) if c in self.graph.reaching_outputs]
                computed = [output for consumer in consumers for output in self._data_outputs(consumer)]
                if name not in self.graph.outputs and computed and right.issuperset(computed):
                    right.add(name)
        return right
