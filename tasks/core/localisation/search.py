"""Find the node at which a wrong file begins to be wrong: the first whose own error exceeds its noise.

Every value of the file is looked up among the values that the module computes on the same probe. The first node
that computes a wrong output from right inputs is suspected, and run by itself on the module's own values, which
tells a node that is wrong from one that is fed the wrong value.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import CrashError, ModelError, OutOfMemoryError
from tasks.core.inputs.probes import Probe
from tasks.core.limits import MATCHING_LIMIT, NUM_CALLS, NUM_FEEDS, SEARCH_LIMITS, SEARCH_SECONDS
from tasks.core.localisation.defects import Defect, describe, other_parameter
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.records.steps import Graph
from tasks.core.reference.reference import Reference
from tasks.core.reference.traced_values import is_float
from tasks.core.runtime.sessions import SessionError

_PASSING_ON = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout")
"""Operators whose output may have the very elements of their input."""


def localise(
    reference: Reference,
    graph: Graph,
    *,
    probes: Sequence[Probe],
    feeds: Callable[[Probe], Mapping[str, Array]],
    output_order: Sequence[int],
    hidden: bool = False,
) -> tuple[Defect | None, list[str]]:
    """Find the first node of a file whose own error exceeds its noise (None: there is none), and notes for a reader.

    Args:
        reference: gives the values of the module.
        graph: the file.
        probes: to look at one after another, the most telling first.
        feeds: gives the arrays of a probe, by the file's input names.
        output_order: which of the file's outputs is the module's first, second…; empty: as they come.
        hidden: the outputs are within the limits, so that only a node that is wrong by itself is a defect.
    """
    try:
        onnx_graph = OnnxGraph(graph.path)
        order = output_order or range(len(onnx_graph.outputs))
        until = math.inf if hidden else time.perf_counter() + SEARCH_SECONDS
        for limit in (MATCHING_LIMIT,) if hidden else SEARCH_LIMITS:
            for probe in probes:
                _check_time(until)
                arrays = {name: array for name, array in feeds(probe).items() if name in onnx_graph.feeds}
                file = FileValues(onnx_graph, reference.traced(probe), arrays, order=order, limit=limit)
                if defect := _WrongNode(reference.network, file, until=until).find(hidden=hidden):
                    return defect, []
    except TimeoutError:
        return None, [f"where the file goes wrong was not found within {SEARCH_SECONDS:.0f} s"]
    except (CrashError, ModelError, OutOfMemoryError) as error:
        if hidden:
            return None, [f"its nodes could not be looked at one by one: {error}"]
        return None, [f"where the file goes wrong could not be looked for: {error}"]
    return None, []


def _check_time(until: float) -> None:
    if time.perf_counter() > until:
        raise TimeoutError


class _WrongNode:
    """Examines the suspected nodes of a file on one probe."""

    def __init__(self, network: nn.Module, file: FileValues, *, until: float) -> None:
        self._until = until
        self._network, self._paths = network, {path for path, _ in network.named_modules()}
        self._file, self._graph, self._traced = file, file.graph, file.traced
        self._present = {number for numbers in file.found.values() for number in numbers}

    def find(self, *, hidden: bool) -> Defect | None:
        """The wrong node, if `hidden` only one that is wrong by itself; None where all is right on this probe."""
        for index in self._file.own_errors():
            return self._examined(index)
        if hidden:
            return None
        for index in self._file.suspects():
            return self._examined(index)
        for name, number in self._file.outputs:
            is_right = self._traced.ratio(self._file.values[name], number) <= self._file.limit
            if not is_right and name in self._graph.producer:
                kind = "output" if number in self._present else "node"
                return self._blamed(self._graph.producer[name], kind, number)
        return None if self._file.stopped is None else self._blamed(self._file.stopped, "node", None)

    def _examined(self, index: int) -> Defect:
        """Blame a suspected node if it is wrong by itself; if it is fed a wrong value, examine that one's producer."""
        numbers = self._candidates(index)
        has_other_weights = bool(other_parameter(self._network, self._graph, index))
        for number in () if has_other_weights else numbers:
            if meant := self._meant_input(index, number):
                return self._traced_back(index, number, meant)
        return self._blamed(index, "node", numbers[0] if numbers else None)

    def _traced_back(self, index: int, number: int, meant: tuple[str, int]) -> Defect:
        """Follow a node, which computes `number` if it is fed as it is `meant` to be, back to what should feed it."""
        # a node that passes its input on as it is, where the module computes something
        pass_through: tuple[int, int] | None = None
        while True:
            name, wanted = meant
            producer = self._graph.producer.get(name)
            before = None if producer is None else self._meant_input(producer, wanted)
            passes_on = before is not None and self._traced.first_of[before[1]] == self._traced.first_of[wanted]
            is_present = wanted in self._present
            is_wiring = is_present and not passes_on
            if producer is None or self._file.has_right_consumer(producer, index) or is_wiring:
                return self._blamed(index, "wiring" if is_present else "node", number)
            if before is None:
                if pass_through is None or not self._file.is_only_producer(producer):
                    pass_through = producer, wanted
                return self._blamed(pass_through[0], "node", pass_through[1])
            if passes_on and pass_through is None and not self._traced.is_view(wanted):
                pass_through = producer, wanted
            index, number, meant = producer, wanted, before

    def _meant_input(self, index: int, number: int) -> tuple[str, int] | None:
        """An input of a node, and the module's value for it, with which the node computes the value `number`."""
        output = self._file.wrong_output(index)
        for name, other, arrays in self._possible_inputs(index, number):
            _check_time(self._until)
            try:
                computed = self._graph.evaluate([index], arrays, wanted=[output])
            except SessionError:
                continue
            if self._traced.ratio(computed[output], number) <= self._file.limit:
                return name, other
        return None

    def _possible_inputs(self, index: int, number: int) -> Iterator[tuple[str, int, dict[str, Array]]]:
        """Arrays for a node in which one input is replaced by a value from which the module computes `number`."""
        output = self._file.values.get(self._file.wrong_output(index))
        if output is None or output.size != self._traced.values[number].size:
            return
        ancestors = self._traced.ancestors(number, depth=6)
        ancestors += [number] if self._graph.nodes[index].op_type in _PASSING_ON else []
        for name in self._graph.data_inputs(index):
            array, found = self._file.values[name], self._file.found[name]
            fitting = [n for n in ancestors if self._traced.values[n].size == array.size and n not in found]
            for other in fitting[:NUM_FEEDS]:
                value = self._traced.whole(other).reshape(array.shape).astype(array.dtype)
                yield name, other, {**self._file.inputs_of(index), name: value}

    def _candidates(self, index: int) -> list[int]:
        """Values of the module that the file lacks and that this node may be meant to compute, most likely first."""
        array = self._file.values[self._file.wrong_output(index)]
        path = self._graph.module_path(index, self._paths)
        taken = {number for name in self._graph.data_inputs(index) for number in self._file.found.get(name, ())}
        missing = [
            number
            for number, value in self._traced.values.items()
            if number not in self._present
            and is_float(value) == is_float(array)
            and self._traced.first_of[number] == number
            and number not in self._traced.trace.constants
        ]

        def order(number: int) -> tuple[bool, bool, bool, int]:
            call = self._traced.trace.call_of(number)
            is_near = not taken.isdisjoint(self._traced.ancestors(number, depth=4))
            other_size = self._traced.values[number].size != array.size
            return other_size, call is None or call.module_path != path, not is_near, number

        return sorted(missing[: 20 * NUM_CALLS], key=order)[:NUM_CALLS]

    def _blamed(self, index: int, kind: str, number: int | None) -> Defect:
        """The defect of a node that should compute the value `number`; None: not known."""
        return describe(self._network, self._file, index, kind=kind, number=number)
