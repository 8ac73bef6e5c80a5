"""Where a wrong file goes wrong: the first node whose own error exceeds its noise.

Every value of the file is looked for among the values that the module computes. A value that is found is
right, and so is what leads to it. The first node that makes a value that is not right from values that are
is the suspect; fed with the module's own values it is either wrong by itself, or innocent and fed wrongly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.core.evidence import Blame, Values
from tasks.core.onnx_values import OnnxGraph
from tasks.core.parity import rms
from tasks.core.probes import Array, Probe
from tasks.core.sessions import SessionError
from tasks.core.traced_values import MATCHING_LIMIT, TracedValues, is_float
from tasks.core.tracing import Call
from tasks.core.trial import Trial

LIMITS = (MATCHING_LIMIT, MATCHING_LIMIT / 3, MATCHING_LIMIT / 6)
"""Noise ratios up to which a value is right; where nothing is wrong, a smaller one is tried."""
NUM_CALLS = 6
"""Operators of the module that a suspect may stand for, at most."""
NUM_FEEDS = 8
"""Values that a suspect may have been meant to take, at most, of each operator."""


@dataclass(frozen=True)
class Defect:
    """A blame, and what it takes to see it again."""

    blame: Blame
    graph: OnnxGraph
    node: int
    fed: dict[str, Array]
    """What the node is fed, by name: the module's own values, where they are known."""
    expected: Array | None
    """What the node should give, as the module computes it in float64."""


def localise(trial: Trial) -> Defect | None:
    """Find the first node of a wrong file whose own error exceeds its noise; None where none can be found."""
    probes = _probes(trial)
    for limit in LIMITS:
        for probe in probes:
            defect = _Search(trial, probe, limit).defect()
            if defect is not None:
                return defect
    return None


def _probes(trial: Trial) -> list[Probe]:
    """The probe that was seen to fail; where its whole family was, all of it, the smallest first."""
    failed = trial.failed_at or trial.inputs.probes[0]
    if trial.failures:
        return [failed]
    same = [probe for probe in trial.inputs.probes if probe.family == failed.family]
    return sorted(same or [failed], key=lambda probe: sum(a.size for a in trial.inputs.arrays(probe).values()))


class _Search:
    """What is known of one wrong file on one probe."""

    def __init__(self, trial: Trial, probe: Probe, limit: float) -> None:
        self.limit = limit
        self.graph = OnnxGraph(trial.graph.path)
        self.modules = {path: type(module).__name__ for path, module in trial.reference.model.named_modules()}
        self.parameters = {
            name: tensor.detach().cpu().numpy()
            for name, tensor in (*trial.reference.model.named_parameters(), *trial.reference.model.named_buffers())
            if tensor.is_floating_point() and tensor.dtype.itemsize >= 4
        }
        cache = trial.reference.trace_cache
        if probe.key not in cache:
            cache.clear()  # the values of one probe at a time
            cache[probe.key] = TracedValues(trial.reference, probe)
        self.traced: TracedValues = cache[probe.key]
        self.order = trial.output_order or tuple(range(len(self.graph.outputs)))
        arrays = {name: array for name, array in trial.file_arrays(probe).items() if name in self.graph.feeds}
        self.values, self.stopped, self.said = self.graph.run(arrays)
        self.values |= arrays
        self.found = {
            name: self.traced.find(array, limit=limit) for name, array in self.values.items() if name not in self.graph.constants
        }
        self.right = self._right()

    def _right(self) -> set[str]:
        """Values that the module computes, and those of which all that is made is right."""
        right = {name for name, numbers in self.found.items() if numbers} | set(self.graph.feeds)
        for index in reversed(range(len(self.graph.nodes))):
            for name in self.graph.nodes[index].output:
                takers = [taker for taker in self.graph.takers.get(name, ()) if taker in self.graph.live]
                made = [made for taker in takers for made in self._made(taker)]
                if name not in self.graph.outputs and made and right.issuperset(made):
                    right.add(name)
        return right

    def _wrong_of(self, index: int) -> str:
        """The first thing a node gives that is not right; if all is, the first."""
        made = self._made(index) or list(self.graph.nodes[index].output)
        return next((name for name in made if name not in self.right), made[0])

    def _made(self, index: int) -> list[str]:
        """What a node gives that depends on the inputs, and that something takes."""
        names = [name for name in self.graph.nodes[index].output if name in self.values]
        used = [name for name in names if name in self.graph.takers or name in self.graph.outputs]
        return [name for name in used if name not in self.graph.constants]

    def defect(self) -> Defect | None:
        for index in self._suspects():
            return self._examined(index)
        return self._wrong_output() or self._refused()

    def _suspects(self) -> Iterator[int]:
        """Nodes that make what is not right from what is, in the order in which they run."""
        for index in range(len(self.graph.nodes) if self.stopped is None else self.stopped):
            data = self.graph.data(index)
            made = self._made(index)
            if index in self.graph.live and self.right.issuperset(data) and not self.right.issuperset(made):
                yield index

    def _examined(self, index: int) -> Defect:
        """Is the node wrong by itself, or fed with the wrong value? If so, the same of the node that gave it."""
        numbers = self._stands_for(index)
        for number in numbers:
            if meant := self._meant_feed(index, number):
                return self._traced_back(index, number, *meant)
        return self._blamed(index, "node", numbers[0] if numbers else None, self._current(index))

    def _traced_back(self, index: int, number: int, name: str, wanted: int) -> Defect:
        """A node that is right when `name` is the module's value `wanted`: who should have given that?"""
        relay = None
        for _ in range(len(self.graph.nodes)):
            giver = self.graph.giver.get(name)
            if giver is None or any(wanted in numbers for numbers in self.found.values()):
                fed = {**self._current(index), name: self.traced.values[wanted]}
                return self._blamed(index, "wiring", number, fed)
            index, number = giver, wanted
            meant = self._meant_feed(index, number)
            if meant is None:
                break
            is_relay = self.traced.first_of[meant[1]] == self.traced.first_of[number]
            relay = (index, number) if is_relay else None
            name, wanted = meant
        if relay is not None and self.found.get(self._wrong_of(index)):
            index, number = relay  # what comes before gives a value that the module has, too: it is right in its place
        return self._blamed(index, "node", number, self._current(index))

    def _meant_feed(self, index: int, number: int) -> tuple[str, int] | None:
        """The input of a node, and the module's value for it, with which the node gives the value `number`."""
        for fed, name, other in self._feeds(index, number):
            if self._own_ratio(index, fed, number) <= self.limit:
                return name, other
        return None

    def _stands_for(self, index: int) -> list[int]:
        """Values of the module that the file lacks and that this node may have been meant to give."""
        output = self._wrong_of(index)
        array = self.values[output]
        present = {number for numbers in self.found.values() for number in numbers}
        path = self.graph.module_path(index, self.modules)
        taken = {number for name in self.graph.data(index) for number in self.found.get(name, ())}
        missing = [
            number
            for number, value in self.traced.values.items()
            if number not in present
            and is_float(value) == is_float(array)
            and self.traced.first_of[number] == number
            and number not in self.traced.trace.constants
        ]

        def order(number: int) -> tuple[bool, bool, bool, int]:
            call = self.traced.call_of(number)
            is_near = not taken.isdisjoint(self.traced.ancestors(number, depth=4))
            other_size = self.traced.values[number].size != array.size
            return other_size, call is None or call.module_path != path, not is_near, number

        return sorted(missing[: 20 * NUM_CALLS], key=order)[:NUM_CALLS]

    def _feeds(self, index: int, number: int) -> Iterator[tuple[dict[str, Array], str, int]]:
        """What the node might have been meant to take: the module's values on the way to this one."""
        ways = self.traced.ancestors(number, depth=6)
        for name in self.graph.data(index):
            array = self.values[name]
            fitting = [n for n in ways if self.traced.values[n].size == array.size and n not in self.found[name]]
            for other in fitting[:NUM_FEEDS]:
                value = self.traced.values[other].reshape(array.shape).astype(array.dtype)
                yield {**self._current(index), name: value}, name, other

    def _current(self, index: int) -> dict[str, Array]:
        return {name: self.values[name] for name in self.graph.data(index) if name in self.values}

    def _own_ratio(self, index: int, fed: dict[str, Array], number: int) -> float:
        """Noise ratio of what the node gives when it is fed this."""
        output = self._wrong_of(index)
        if self.values[output].size != self.traced.values[number].size:
            return float("inf")
        try:
            given = self.graph.evaluate([index], {**self._others(index), **fed}, wanted=[output])
        except SessionError:
            return float("inf")
        return self.traced.ratio(given[output], number)

    def _others(self, index: int) -> dict[str, Array]:
        """Inputs of a node that do not depend on the values fed, as the file computes them."""
        return {
            name: self.values[name]
            for name in self.graph.inputs[index]
            if name in self.values and name not in self.graph.initializers
        }

    def _wrong_output(self) -> Defect | None:
        """An output that shows a right value, but another one than it should."""
        for place, number in zip(self.order, self.traced.trace.outputs, strict=False):
            name = self.graph.outputs[place]
            if name not in self.values or number not in self.traced.values:
                continue
            if number in self.found.get(name, ()):
                continue
            giver = self.graph.giver.get(name)
            if giver is None or self.traced.ratio(self.values[name], number) <= self.limit:
                continue
            is_elsewhere = any(number in numbers for numbers in self.found.values())
            return self._blamed(giver, "output" if is_elsewhere else "node", number, self._current(giver))
        return None

    def _refused(self) -> Defect | None:
        """The node at which ONNX Runtime stops."""
        if self.stopped is None:
            return None
        return self._blamed(self.stopped, "node", None, self._current(self.stopped))

    def _blamed(self, index: int, kind: str, number: int | None, fed: dict[str, Array]) -> Defect:
        node = self.graph.nodes[index]
        call = None if number is None else self.traced.call_of(number)
        path = self.graph.module_path(index, self.modules)
        if path is None:
            path = self._path_nearby(index)
        if path is None:
            path = call.module_path if call is not None else ""
        found = next((self.values[name] for name in node.output if name in self.values), None)
        expected = None if number is None else self.traced.values[number]
        if found is None or expected is None or found.size != expected.size:
            ratio = float("inf")
        else:
            ratio = self.traced.ratio(found, int(number or 0))
        parameter = self._differing_parameter(index) if kind == "node" else ""
        blame = Blame(
            node=self.graph.label(index),
            op_type=node.op_type,
            module_path=path,
            module_class=self.modules.get(path, ""),
            source=call.source if call is not None else "",
            kind="weights" if parameter else kind,  # type: ignore[arg-type]  # one of its literals
            parameter=parameter,
            own_ratio=ratio,
            found=_in_short(found),
            expected=_in_short(expected),
            sentence="",
        )
        said = _sentence(blame, self.said if index == self.stopped else "")
        return Defect(blame.model_copy(update={"sentence": said}), self.graph, index, fed, expected)

    def _path_nearby(self, index: int) -> str | None:
        """The module of the nearest node, for one of which the file says nothing."""
        near, seen = [index], {index}
        for other in near:
            before = [self.graph.giver[name] for name in self.graph.data(other) if name in self.graph.giver]
            after = [taker for name in self.graph.nodes[other].output for taker in self.graph.takers.get(name, ())]
            path = self.graph.module_path(other, self.modules)
            if path is not None:
                return path
            near += [node for node in (*before, *after) if node not in seen]
            seen.update(near)
        return None

    def _differing_parameter(self, index: int) -> str:
        """A parameter of the module that this node holds under its name with other values."""
        for name in self.graph.inputs[index]:
            wanted = self.parameters.get(name)
            found = self.graph.constant(name) if wanted is not None else None
            if wanted is None or found is None or found.dtype.kind != "f":
                continue
            if found.size != wanted.size or not (_equal(found, wanted) or _equal(found.T, wanted)):
                return name
        return ""


def _equal(a: Array, b: Array) -> bool:
    return np.array_equal(a.reshape(-1), b.reshape(-1))


def _in_short(array: Array | None) -> Values | None:
    if array is None:
        return None
    first = tuple(float(value) for value in array.reshape(-1)[:8])
    return Values(dtype=str(array.dtype), shape=array.shape, rms=rms(array), first=first)


def _sentence(blame: Blame, said: str) -> str:
    where = f"{blame.node} ({blame.op_type})"
    module = f"{blame.module_path} ({blame.module_class})" if blame.module_path else "forward itself"
    what = {
        "weights": f"holds other values of {blame.parameter} than the module",
        "wiring": "computes rightly, but is fed the wrong value",
        "output": "gives a right value to the wrong output",
        "node": "is the first whose own result is wrong" if not said else f"is refused by ONNX Runtime: {said}",
        "unknown": "is suspect",
    }[blame.kind]
    source = f", {blame.source}" if blame.source else ""
    return f"{where} {what}; in PyTorch that is {module}{source}"
