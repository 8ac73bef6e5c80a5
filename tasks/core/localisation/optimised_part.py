"""Find the few nodes of a file of which ONNX Runtime's optimisation makes something else than they compute."""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.core.arrays import EPS32, Array, ratio, rms
from tasks.core.limits import BEYOND_LUCK
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.runtime import sessions

_MAX_SINGLE = 24
"""Nodes of a part up to which it is tried to do without each one of them."""


class OptimisedPart:
    """The search in one file on one input, every value of which is known as it is without optimisation."""

    def __init__(self, graph: OnnxGraph, arrays: Mapping[str, Array], *, level: str) -> None:
        """Run the file without optimisation; `level` is the one at which parts of it are wrong."""
        self._graph, self._level = graph, level
        found, _, _ = graph.run(arrays)
        self.values = {**found, **arrays}

    def smallest(self) -> tuple[list[int], str] | None:
        """The nodes, by index, and the name of the value that is wrong; None: no part of the file is."""
        nodes = sorted(self._graph.reaching_outputs)
        wanted = next((name for name in self._graph.outputs if self._is_wrong(nodes, name)), None)
        if wanted is None:
            return None
        # the first nodes that make some value wrong, by bisection, then the last of them that are enough
        right, wrong = 0, len(nodes)
        while wrong - right > 1:
            middle = (right + wrong) // 2
            name = self._last(nodes[:middle])
            right, wrong, wanted = (
                (right, middle, name) if self._is_wrong(nodes[:middle], name) else (middle, wrong, wanted)
            )
        nodes = self._needed(nodes[:wrong], wanted)
        enough, few = 0, len(nodes)
        while few - enough > 1:
            middle = (enough + few) // 2
            enough, few = (middle, few) if self._is_wrong(nodes[middle:], wanted) else (enough, middle)
        nodes = nodes[enough:]
        for index in nodes[:-1] if len(nodes) <= _MAX_SINGLE else ():
            others = [other for other in nodes if other != index]
            nodes = others if self._is_wrong(others, wanted) else nodes
        return self._needed(nodes, wanted), wanted

    def _last(self, nodes: Sequence[int]) -> str:
        """The first output of the last of these nodes."""
        return str(next(name for name in self._graph.nodes[nodes[-1]].output if name))

    def _needed(self, nodes: Sequence[int], wanted: str) -> list[int]:
        """Those of some nodes from which a value is computed."""
        names, found = {wanted}, list[int]()
        for index in reversed(nodes):
            if not names.isdisjoint(self._graph.nodes[index].output):
                names.update(self._graph.inputs[index])
                found.append(index)
        return found[::-1]

    def _is_wrong(self, nodes: Sequence[int], wanted: str) -> bool:
        """Do these nodes, fed with the right values, give another value than without optimisation, or none?"""
        model, feeds = self._graph.part(self._needed(nodes, wanted), self.values, wanted=[wanted])
        try:
            ((found,),) = sessions.answers(
                model.SerializeToString(), [feeds], level=self._level, folder=self._graph.path.parent
            )
        except sessions.SessionError:
            return True
        return differs(found, self.values[wanted])


def differs(found: Array, right: Array) -> bool:
    """Is a value another one, by more than any order of its operations explains?

    Args:
        found: of any dtype.
        right: what it should be.
    """
    if found.shape != right.shape or found.dtype != right.dtype:
        return True
    if right.dtype.kind != "f":
        return not np.array_equal(found, right)
    finite = np.isfinite(right)
    if not np.array_equal(np.isfinite(found), finite):
        return True
    return not ratio(rms(found[finite] - right[finite]), rms(right)) <= BEYOND_LUCK * EPS32
