"""What is known of a module beside its answers: outputs, branches, repeatability, choices, every value on the way."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from tasks.core.arrays import EPS32, Array
from tasks.core.errors import ModelError
from tasks.core.forward.arguments import build_arguments
from tasks.core.forward.choices import NotedChoices, OtherChoices, run_noted
from tasks.core.forward.fixed_values import FixedValues, run_for_fixed, weights_of
from tasks.core.forward.frozen_values import TakenSides, frozen_lines
from tasks.core.forward.gradients import run_for_gradients
from tasks.core.forward.outputs import Thresholds
from tasks.core.forward.precision import run_float32, run_float64, run_perturbed
from tasks.core.forward.recorder import Receive, Recorder
from tasks.core.forward.substitutes import Substitute
from tasks.core.forward.traces import Trace
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe
from tasks.core.limits import NUM_SECOND_RUNS
from tasks.core.records.steps import ProbeKey
from tasks.core.reference.answers import Answers
from tasks.core.reference.choices import Choice, choices_of
from tasks.core.reference.repeatability import first_difference, why_unrepeatable
from tasks.core.reference.structure import Group, groups_of
from tasks.core.reference.traced_values import TracedValues
from tasks.core.reference.ways import (
    OwnError,
    coarsest_eps,
    first_module_apart,
    first_operator_apart,
    noise_limit_of,
)


class Reference(Answers):
    """What is known of one module beside its answers: each fact is looked for once, when it is first asked for."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        """Take a module in eval mode, and probes of which the first two differ in their seed only; run nothing yet."""
        super().__init__(network, inputs)
        self._choices: dict[tuple[object, ...], list[Choice]] = {}
        self._traced: dict[tuple[object, ...], TracedValues] = {}
        self._difference: tuple[int, str] | None = None
        self._watched: set[ProbeKey] = set()
        self._again: list[Array] = []
        """The answer to the first probe after that to the second; empty: none yet."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, from the structure that forward returns."""
        if not self._calls.names:
            self.float32(self.inputs.probes[0])
        return self._calls.names

    @property
    def thresholds(self) -> Thresholds:
        """What the first run compared its values with, where that decides how many items there are."""
        return self._calls.thresholds

    @functools.cached_property
    def groups(self) -> tuple[Group, ...]:
        """The outputs that are sized by data, as far as the first two probes tell."""
        pair = [self.float32(probe) for probe in self.inputs.probes[:2]]
        return groups_of(self.output_names, *pair) if self.thresholds.sizes_by_data else ()

    @functools.cached_property
    def branches(self) -> tuple[str, ...]:
        """Lines of the module's code, `file.py:LINE`, at which an input's values decide what Python does next.

        Traced where the float32 runs so far converted something, at sizes at which they did.
        """
        arguments = functools.partial(build_arguments, self.inputs.argument_paths)
        first = [self.inputs.probes[0]] if self._converting or self.thresholds.sizes_by_data else []
        decided: dict[str, None] = {}
        for probe in {probe.key: probe for probe in (*first, *self._converting.values())}.values():
            with self.inputs.kept():
                tensors = self.inputs.tensors(self.inputs.arrays(probe))
                lines = frozen_lines(self.network, tensors, arguments)
            decided |= dict.fromkeys(line for line, is_decided in lines.items() if is_decided)
        return tuple(decided)

    def untaken_lines(self, lines: Sequence[str], probes: Sequence[Probe], *, kept: bool) -> list[str]:
        """Those of these lines of the module's code of which these probes do not take both sides.

        Args:
            lines: as in `branches`.
            probes: at which the file is right.
            kept: the file has control flow of its own.
        """
        sides = TakenSides()
        for probe in probes if lines else ():
            with sides.watched():
                self._calls.run(run_float32, probe)
        return [line for line in lines if not sides.are_taken(line, kept=kept)]

    @property
    def sized_by_data(self) -> frozenset[int]:
        """Their indices among all outputs."""
        return frozenset(index for group in self.groups for index in group.outputs)

    def unrepeatable(self, names: Sequence[str] = ()) -> str:
        """Why the module does not repeat its answers: f(a), f(b), f(a) must; empty where it does.

        Outputs are called by the given names, in the module's order; by their names in the module if there are none.
        """
        first, second = self.inputs.probes[:2]
        if self._difference is None:
            before, _ = self.float32(first), self.float32(second)
            index = first_difference(before, self._again) if self._again else 0
            if index >= 0:  # what watches a run may change it
                index = first_difference(before, self._calls.run(run_float32, first))
            runs = (functools.partial(self._calls.run, run_float32, probe) for probe in (first, second))
            self._difference = index, why_unrepeatable(self.network, *runs) if index >= 0 else ""
        index, why = self._difference
        called = names if index < len(names) else self.output_names
        return f"{called[index]} differs when the same input comes again after another: {why}" if why else ""

    def other_way(self, probe: Probe, index: int) -> str:
        """Why the error of float32 in an output is more than rounding, in one sentence; empty: it is not.

        Args:
            probe: at which the error is suspiciously large.
            index: of the output.
        """
        moved = [self._calls.run(run_perturbed, probe, seed=s, move_inputs=True)[index] for s in range(NUM_SECOND_RUNS)]
        error = OwnError(self.output_names[index], self.float32(probe)[index], self.float64(probe)[index], moved)
        both = run_float32, run_float64
        if error.is_unbelievable(noise_limit_of(self.network)):
            module = first_module_apart(self.network, *(functools.partial(self._calls.run, run, probe) for run in both))
            return error.hides(first=module, where=f"{probe.family} inputs at {probe.sizes_in_words}")
        if error.is_unexplained:
            module = first_operator_apart(*(self._record(probe, None, run).calls for run in both))
            return error.goes_another_way(first=module) if module else ""
        return ""

    @functools.cached_property
    def fixed_values(self) -> FixedValues:
        """What the module computes from its weights alone on the first probe; ModelError: it can't be watched."""
        first, second = self.inputs.probes[:2]
        _, _, fixed = self.float32(first), self.float32(second), FixedValues(self.network)
        self._again = self._calls.run(run_for_fixed, first, fixed=fixed)
        return fixed

    def fixed_values_at(self, probes: Sequence[Probe]) -> FixedValues:
        """The same, and at these probes, as far as they may use weights that those before did not."""
        fixed, names = self.fixed_values, weights_of(self.network).keys()
        for probe in probes:
            if probe.key not in self._watched and not fixed.weights >= names:
                self._watched.add(probe.key)
                with contextlib.suppress(ModelError):  # only ordinary probes must be taken
                    self._calls.run(run_for_fixed, probe, fixed=fixed)
        return fixed

    def substituted(self, probe: Probe, *, place: int | str, change: Array) -> list[Array]:
        """Outputs in float32 with something added to a weight, or to what is computed from weights alone.

        Args:
            probe: of the same sizes as the first one.
            place: name of the weight, or number of the other value in `fixed_values`.
            change: in the shape of the value.
        """
        return self._calls.run(run_for_fixed, probe, fixed=Substitute(self.network, place=place, change=change))

    def gradients(self, probe: Probe, *, names: Sequence[str], scales: Sequence[float]) -> dict[str, Array]:
        """By how much the outputs move where one element of a weight moves by 1; ModelError: it has no gradients.

        Args:
            probe: at which.
            names: of the weights.
            scales: the unit of each output.
        """
        found: dict[str, Array] = {}
        self._calls.run(run_for_gradients, probe, names=names, scales=scales, found=found)
        return found

    def choices(self, probe: Probe) -> list[Choice]:
        """What operators such as topk chose among values; none where the module can't be watched."""
        if probe.key not in self._choices:
            torch32, float64 = NotedChoices(), NotedChoices()
            with contextlib.suppress(ModelError):
                self._calls.run(run_noted, probe, choices=torch32)
                if torch32.seen and not self._no_float64:
                    self._calls.run(run_noted, probe, choices=float64, how=run_float64)
            self._choices[probe.key] = choices_of(torch32, float64)
        return self._choices[probe.key]

    def otherwise(self, probe: Probe, *, seed: int) -> list[Array]:
        """Outputs in float32 where each choice among values that are equal but for noise falls otherwise.

        Args:
            probe: what to answer.
            seed: of the choices.
        """
        others = OtherChoices([choice.margins for choice in self.choices(probe)], seed)
        return self._answer(f"otherwise {seed}", probe, run_noted, choices=others)

    def overflown(self, probe: Probe) -> str:
        """Name of an output that is not finite only because the module is in half precision; empty: there is none."""
        answer = self.float32(probe)
        if coarsest_eps(self.network) <= EPS32 or all(np.isfinite(array).all() for array in answer):
            return ""
        outputs = zip(self.output_names, answer, self.float64(probe), strict=True)
        same = ((name, a, b) for name, a, b in outputs if a.shape == b.shape)
        return next((name for name, a, b in same if not np.isfinite(a[np.isfinite(b)]).all()), "")

    def traced(self, probe: Probe) -> TracedValues:
        """Every value that the module computes on a probe, kept for the last one; ModelError: it can't be recorded."""
        if probe.key not in self._traced:
            self._traced.clear()
            self._traced[probe.key] = TracedValues(functools.partial(self._record, probe))
        return self._traced[probe.key]

    def forget(self, probe: Probe) -> None:
        """Drop what is known of a probe, unless its rows are those of other probes, too."""
        super().forget(probe)
        self._choices.pop(probe.key, None)

    def release(self) -> None:
        """Drop all answers and values."""
        super().release()
        for memo in (self._choices, self._traced, self._watched):
            memo.clear()
        self.__dict__.pop("fixed_values", None)

    def _record(self, probe: Probe, receive: Receive | None, run: Any = None, **options: Any) -> Trace:
        """Run the module, by default in float64 if it can, and call `receive` with each value that it computes."""
        recorder = Recorder(self.network, receive=receive)
        run = run or (run_float32 if self._no_float64 else run_float64)
        self._calls.run(run, probe, recorder=recorder, **options)
        return recorder.trace
