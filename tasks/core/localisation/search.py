"""Where a wrong file goes wrong: the first node whose own error exceeds its noise.

Every value of the file is looked for among the values that the module computes. A value that is found is
right, and so is what only leads to such. The first node that makes a value that is not right from values
that are is the suspect; fed with the module's own values it is either wrong by itself, or it is innocent and
was fed wrongly, and the one before it is the suspect.
"""

from collections.abc import Iterator

from tasks.core.arrays import Array
from tasks.core.errors import CrashError, ModelError
from tasks.core.inputs.probes import Probe
from tasks.core.localisation.defects import Defect, describe, other_parameter
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.proof.trial import Trial
from tasks.core.records.evidence import Blame
from tasks.core.reference.traced_values import MATCHING_LIMIT, is_float
from tasks.core.runtime.sessions import SessionError

LIMITS = (MATCHING_LIMIT, MATCHING_LIMIT / 3, MATCHING_LIMIT / 6)
"""Noise ratios up to which a value is right; where nothing is wrong, a smaller one is tried."""
NUM_CALLS = 6
"""Values of the module that a suspect may have been meant to give, at most."""
NUM_FEEDS = 8
"""Values that it may have been meant to take, at most, for each of those."""
RELAYS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout")
"""Operators that may hand on their elements as they are."""


def localise(trial: Trial) -> Defect | None:
    """Find the first node of a wrong file whose own error exceeds its noise; None where none can be found."""
    probes = _probes(trial)
    try:
        for limit in LIMITS:
            for probe in probes:
                defect = _Search(trial, probe, limit).defect()
                if defect is not None:
                    return defect
    except (CrashError, ModelError) as error:
        trial.notes.append(f"where the file goes wrong could not be looked for: {error}")
    return None


def hidden_defect(trial: Trial, family: str) -> Defect | None:
    """A node that is wrong by itself in a file whose outputs are within the limits.

    Looked for on the first probe of all, and on the first of the family that was farthest off.
    """
    first = trial.inputs.probes[0]
    worst = next(probe for probe in trial.inputs.probes if probe.family == family)
    for probe in dict.fromkeys((first.key, worst.key)):
        try:
            search = _Search(trial, first if probe == first.key else worst, MATCHING_LIMIT)
            for index in search.file.own_errors():
                return search.examined(index)
        except (CrashError, ModelError) as error:
            trial.notes.append(f"its nodes could not be looked at one by one: {error}")
            return None
    return None


def _probes(trial: Trial) -> list[Probe]:
    """The probe that was seen to fail; where its whole family was, all of it, the smallest first."""
    failed = trial.failed_at or trial.inputs.probes[0]
    if trial.failures:
        return [failed]
    same = [probe for probe in trial.inputs.probes if probe.family == failed.family]
    return sorted(same or [failed], key=lambda probe: tuple(probe.sizes.values()))


class _Search:
    """Looks for the culprit of one file on one probe."""

    def __init__(self, trial: Trial, probe: Probe, limit: float) -> None:
        self._model = trial.reference.network
        self._paths = {path for path, _ in self._model.named_modules()}
        self._limit = limit
        self._traced = trial.reference.traced(probe)
        self._graph = OnnxGraph(trial.graph.path)
        order = trial.output_order or tuple(range(len(self._graph.outputs)))
        arrays = {name: array for name, array in trial.file_arrays(probe).items() if name in self._graph.feeds}
        self.file = FileValues(self._graph, self._traced, arrays, output_order=order, limit=limit)

    def defect(self) -> Defect | None:
        """The culprit; None where all is right on this probe."""
        for index in (*self.file.own_errors(), *self.file.suspects()):
            return self.examined(index)
        for name, number in self.file.outputs:
            is_right = self._traced.ratio(self.file.values[name], number) <= self._limit
            if not is_right and name in self._graph.giver:
                kind = "output" if self._is_present(number) else "node"
                return self._blamed(self._graph.giver[name], kind, number)
        return None if self.file.stopped is None else self._blamed(self.file.stopped, "node", None)

    def examined(self, index: int) -> Defect:
        """Is the node wrong by itself, or fed with the wrong value? If so, the same of the node that gave it."""
        numbers = self._stands_for(index)
        has_other_weights = bool(other_parameter(self._model, self._graph, index))
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
            if self._traced.ratio(given[output], number) <= self._limit:
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
        blame: Blame = describe(self._model, self.file, index, kind=kind, number=number)
        output = self.file.wrong_of(index)
        expected = None if number is None else self._traced.whole(number)
        return Defect(blame, self._graph, index, self.file.current(index), output, expected)
