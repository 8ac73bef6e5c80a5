"""Where a wrong file goes wrong: the first node whose own error exceeds its noise.

Every value of the file is looked for among the values that the module computes. A value that is found is
right, and so is what only leads to such. The first node that makes a value that is not right from values
that are is the suspect; fed with the module's own values it is either wrong by itself, or it is innocent and
was fed wrongly, and the one before it is the suspect.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import CrashError, ModelError, OutOfMemoryError
from tasks.core.inputs.probes import Probe
from tasks.core.limits import MATCHING_LIMIT, NUM_CALLS, NUM_FEEDS, SEARCH_LIMITS
from tasks.core.localisation.defects import Defect, describe, other_parameter
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.records.evidence import Blame
from tasks.core.records.steps import Graph
from tasks.core.reference.reference import Reference
from tasks.core.reference.traced_values import is_float
from tasks.core.runtime.sessions import SessionError

RELAYS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout")
"""Operators that may hand on their elements as they are."""


Feeds = Callable[[Probe], Mapping[str, Array]]
"""The arrays of a probe, by the file's input names."""


def localise(
    reference: Reference, graph: Graph, *, probes: Sequence[Probe], feeds: Feeds, output_order: Sequence[int]
) -> tuple[Defect | None, list[str]]:
    """Find the first node of a wrong file whose own error exceeds its noise.

    Args:
        reference: gives the values of the module.
        graph: the file.
        probes: on which it is wrong, the most telling first.
        feeds: gives what the file takes on a probe.
        output_order: which of the file's outputs is the module's first, second…; empty: as they come.

    Returns:
        The node, None where none can be found; and notes for a reader.
    """
    try:
        onnx_graph = OnnxGraph(graph.path)
        for limit in SEARCH_LIMITS:
            for probe in probes:
                file = _file_values(reference, onnx_graph, probe, feeds=feeds, output_order=output_order, limit=limit)
                defect = _Search(reference.network, file).defect()
                if defect is not None:
                    return defect, []
    except (CrashError, ModelError, OutOfMemoryError) as error:
        return None, [f"where the file goes wrong could not be looked for: {error}"]
    return None, []


def hidden_defect(
    reference: Reference, graph: Graph, *, probes: Sequence[Probe], feeds: Feeds, output_order: Sequence[int]
) -> tuple[Defect | None, list[str]]:
    """Find a node that is wrong by itself in a file whose outputs are within the limits.

    Args:
        reference: gives the values of the module.
        graph: the file.
        probes: to look at one after another, each once.
        feeds: gives what the file takes on a probe.
        output_order: which of the file's outputs is the module's first, second…; empty: as they come.

    Returns:
        The node, None where none is wrong; and notes for a reader.
    """
    options: dict[str, Any] = {"feeds": feeds, "output_order": output_order, "limit": MATCHING_LIMIT}
    try:
        onnx_graph = OnnxGraph(graph.path)
        for probe in {probe.key: probe for probe in probes}.values():
            search = _Search(reference.network, _file_values(reference, onnx_graph, probe, **options))
            for index in search.file.own_errors():
                return search.examined(index), []
    except (CrashError, ModelError, OutOfMemoryError) as error:
        return None, [f"its nodes could not be looked at one by one: {error}"]
    return None, []


def _file_values(
    reference: Reference, graph: OnnxGraph, probe: Probe, *, feeds: Feeds, output_order: Sequence[int], limit: float
) -> FileValues:
    """Run the file and the module on a probe, value by value."""
    return FileValues(
        graph,
        reference.traced(probe),
        {name: array for name, array in feeds(probe).items() if name in graph.feeds},
        output_order=output_order or range(len(graph.outputs)),
        limit=limit,
    )


class _Search:
    """Looks for the culprit of one file on one probe."""

    def __init__(self, network: nn.Module, file: FileValues) -> None:
        self._network = network
        self._paths = {path for path, _ in network.named_modules()}
        self.file, self._graph, self._traced = file, file.graph, file.traced

    def defect(self) -> Defect | None:
        """The culprit; None where all is right on this probe."""
        for index in (*self.file.own_errors(), *self.file.suspects()):
            return self.examined(index)
        for name, number in self.file.outputs:
            is_right = self._traced.ratio(self.file.values[name], number) <= self.file.limit
            if not is_right and name in self._graph.giver:
                kind = "output" if self._is_present(number) else "node"
                return self._blamed(self._graph.giver[name], kind, number)
        return None if self.file.stopped is None else self._blamed(self.file.stopped, "node", None)

    def examined(self, index: int) -> Defect:
        """Is the node wrong by itself, or fed with the wrong value? If so, the same of the node that gave it."""
        numbers = self._stands_for(index)
        has_other_weights = bool(other_parameter(self._network, self._graph, index))
        for number in () if has_other_weights else numbers:
            if meant := self._meant_feed(index, number):
                return self._traced_back(index, number, *meant)
        return self._blamed(index, "node", numbers[0] if numbers else None)

    def _traced_back(self, index: int, number: int, name: str, wanted: int) -> Defect:
        """A node gives `number` when `name` is the module's value `wanted`: who should have given that?"""
        relay: tuple[int, int] | None = None  # a node that only hands on, where the module computes something
        while True:
            giver = self._graph.giver.get(name)
            meant = None if giver is None else self._meant_feed(giver, wanted)
            is_relay = meant is not None and self._traced.are_same(meant[1], wanted)
            is_present = self._is_present(wanted)
            if giver is None or self.file.serves_others(giver, index) or (is_present and not is_relay):
                return self._blamed(index, "wiring" if is_present else "node", number)
            if meant is None:
                if relay is None or not self.file.is_in_place(giver):
                    relay = giver, wanted
                return self._blamed(relay[0], "node", relay[1])
            if is_relay and relay is None and not self._traced.is_view(wanted):
                relay = giver, wanted
            index, number, (name, wanted) = giver, wanted, meant

    def _meant_feed(self, index: int, number: int) -> tuple[str, int] | None:
        """The input of a node, and the module's value for it, with which the node gives the value `number`."""
        output = self.file.wrong_of(index)
        for name, other, fed in self._feeds(index, number):
            try:
                given = self._graph.evaluate([index], fed, wanted=[output])
            except SessionError:
                continue
            if self._traced.ratio(given[output], number) <= self.file.limit:
                return name, other
        return None

    def _feeds(self, index: int, number: int) -> Iterator[tuple[str, int, dict[str, Array]]]:
        """What the node might have been meant to take: the module's values on the way to this one."""
        if self.file.wrong_of(index) not in self.file.values:
            return
        if self.file.values[self.file.wrong_of(index)].size != self._traced.values[number].size:
            return
        ways = self._traced.ancestors(number, depth=6)
        ways += [number] if self._graph.nodes[index].op_type in RELAYS else []
        for name in self._graph.data(index):
            array = self.file.values[name]
            fitting = [n for n in ways if self._traced.values[n].size == array.size and n not in self.file.found[name]]
            for other in fitting[:NUM_FEEDS]:
                value = self._traced.whole(other).reshape(array.shape).astype(array.dtype)
                yield name, other, {**self.file.current(index), name: value}

    def _stands_for(self, index: int) -> list[int]:
        """Values of the module that the file lacks and that this node may have been meant to give."""
        array = self.file.values[self.file.wrong_of(index)]
        present = {number for numbers in self.file.found.values() for number in numbers}
        path = self._graph.module_path(index, self._paths)
        taken = {number for name in self._graph.data(index) for number in self.file.found.get(name, ())}
        missing = [
            number
            for number, value in self._traced.values.items()
            if number not in present
            and is_float(value) == is_float(array)
            and self._traced.first_of[number] == number
            and number not in self._traced.trace.constants
        ]

        def order(number: int) -> tuple[bool, bool, bool, int]:
            call = self._traced.call_of(number)
            is_near = not taken.isdisjoint(self._traced.ancestors(number, depth=4))
            other_size = self._traced.values[number].size != array.size
            return other_size, call is None or call.module_path != path, not is_near, number

        return sorted(missing[: 20 * NUM_CALLS], key=order)[:NUM_CALLS]

    def _is_present(self, number: int) -> bool:
        return any(number in numbers for numbers in self.file.found.values())

    def _blamed(self, index: int, kind: str, number: int | None) -> Defect:
        blame: Blame = describe(self._network, self.file, index, kind=kind, number=number)
        output = self.file.wrong_of(index)
        expected = None if number is None else self._traced.whole(number)
        return Defect(blame, self._graph, index, self.file.current(index), output, expected)
