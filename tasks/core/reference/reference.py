"""What the module itself answers to a probe: in float32, in float64, and with perturbed weights."""

import contextlib
import functools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from tasks.core.arrays import EPS32, Array
from tasks.core.errors import ModelError, one_line
from tasks.core.forward.arguments import build_arguments
from tasks.core.forward.choices import NotedChoices, OtherChoices, run_noted
from tasks.core.forward.fixed_values import FixedValues, run_for_fixed
from tasks.core.forward.frozen_values import TakenSides, frozen_lines
from tasks.core.forward.gradients import run_for_gradients
from tasks.core.forward.outputs import Thresholds
from tasks.core.forward.precision import Scratch, run_as_it_is, run_float32, run_float64, run_perturbed
from tasks.core.forward.recorder import Receive, Recorder
from tasks.core.forward.traces import Addition, Trace
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe, batch_name
from tasks.core.limits import NUM_SECOND_RUNS, NUM_STAND_INS, WAY_LIMIT
from tasks.core.reference.calls import Calls
from tasks.core.reference.choices import Choice, choices_of
from tasks.core.reference.float64_substitutes import from_rows, mean_of_runs
from tasks.core.reference.repeatability import first_difference, why_unrepeatable
from tasks.core.reference.structure import Group, groups_of
from tasks.core.reference.traced_values import TracedValues
from tasks.core.reference.ways import (
    OwnError,
    attention_masks,
    coarsest_eps,
    difference,
    first_module_apart,
    first_operator_apart,
    fused_sentence,
    noise_limit_of,
)
from tasks.core.runtime.memory import release_free_memory


class Reference:
    """Answers of one module to probes: each is computed once, when it is first asked for."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        """Take a module in eval mode, and probes of which the first two differ in their seed only; run nothing yet."""
        self.network, self.inputs = network, inputs
        self._answers: dict[tuple[object, ...], list[Array]] = {}
        self._additions: dict[tuple[object, ...], list[Addition]] = {}
        self._choices: dict[tuple[object, ...], list[Choice]] = {}
        self._traced: dict[tuple[object, ...], TracedValues] = {}
        self._difference: tuple[int, str] | None = None
        self._calls = Calls(network, inputs)
        self._no_float64 = ""
        self._rounded: set[str] = set()
        self._scratch = Scratch()
        self._converting: dict[str, Probe] = {}
        """Lines at which float32 runs converted tensors to Python values, each with the first probe that did."""
        self.fused_way = ""
        """How the module answers otherwise with PyTorch's fused attention, in one sentence; empty: nowhere yet."""

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

    @property
    def floor(self) -> str:
        """What `float64` was so far."""
        if self._no_float64:
            return f"mean of {NUM_STAND_INS + 1} perturbed float32 runs, as the module has no float64 path"
        return f"float64, but {', '.join(sorted(self._rounded))} in float32" if self._rounded else "float64"

    @property
    def floor_note(self) -> str:
        """What a reader should know of the floor; empty where it is float64 throughout."""
        why = f" ({self._no_float64})" if self._no_float64 else ""
        return "" if self.floor == "float64" else f"the noise was measured with less than float64: {self.floor}{why}"

    def unrepeatable(self, names: Sequence[str] = ()) -> str:
        """Why the module does not repeat its answers: f(a), f(b), f(a) must; empty where it does.

        Outputs are called by the given names, in the module's order; by their names in the module if there are none.
        """
        first, second = self.inputs.probes[:2]
        if self._difference is None:
            before, _ = self.float32(first), self.float32(second)
            index = first_difference(before, self._calls.run(run_float32, first))
            runs = (functools.partial(self._calls.run, run_float32, probe) for probe in (first, second))
            self._difference = index, why_unrepeatable(self.network, *runs) if index >= 0 else ""
        index, why = self._difference
        called = names if index < len(names) else self.output_names
        return f"{called[index]} differs when the same input comes again after another: {why}" if why else ""

    def float32(self, probe: Probe) -> list[Array]:
        """Outputs of the module as it is, but for fused attention, flattened."""
        key = ("float32", *probe.key)
        if key not in self._answers:
            if probe.rows:
                release_free_memory()  # what smaller batches took, before the largest
            sides = TakenSides()
            with attention_masks(self.network) as masked, sides.watched():
                self._answers[key] = self._calls.run(run_float32, probe)
            self._converting = dict.fromkeys(sides.lines, probe) | self._converting
            if masked and not self.fused_way:
                self._note_fused_way(probe, masked[0])
        return self._answers[key]

    def perturbed(self, probe: Probe, *, seed: int) -> list[Array]:
        """Outputs in float32 with each weight moved by one rounding; inputs, too, where there is no float64.

        Args:
            probe: what to answer.
            seed: of the signs of the roundings.
        """
        moved = bool(self._no_float64)
        return self._answer(f"perturbed {seed} {moved}", probe, run_perturbed, seed=seed, move_inputs=moved)

    def float64(self, probe: Probe) -> list[Array]:
        """Outputs of the module computed in float64, flattened.

        Where the module has no float64 path, the mean of float32 runs with inputs and weights off by one
        rounding stands in; integers are torch32's own. Answers to rows of other probes are put together from theirs,
        where the module answers each row apart.
        """
        key = ("float64", *probe.key)
        if probe.rows and key not in self._answers:
            batch = batch_name(self.inputs.specs) or ""
            together = from_rows(probe, batch, float32=self.float32, float64=self.float64)
            if together is not None:
                self._answers[key] = together
        if key in self._answers:
            return self._answers[key]
        options: dict[str, Any] = {"scratch": self._scratch, "rounded": self._rounded}
        if not self._no_float64 and probe in self.inputs.probes[:2]:
            with contextlib.suppress(ModelError):  # recording may be too much for an unusual module
                recorder = Recorder(self.network, keep_additions=True)
                self._answers[key] = self._calls.run(run_float64, probe, recorder=recorder, **options)
                self._additions[probe.key] = recorder.trace.additions
                return self._answers[key]
        if not self._no_float64:
            try:
                return self._answer("float64", probe, run_float64, **options)
            except ModelError as error:
                cause = error.__cause__ or error
                self._no_float64 = one_line(f"{type(cause).__name__}: {cause}")
        others = [self.perturbed(probe, seed=100 + index) for index in range(NUM_STAND_INS)]
        return mean_of_runs(self.float32(probe), others)

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

    def fixed_values(self) -> FixedValues:
        """What the module computes from its weights alone on the first probe; ModelError: it can't be watched."""
        fixed = FixedValues(self.network)
        self._calls.run(run_for_fixed, self.inputs.probes[0], fixed=fixed)
        return fixed

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

    def additions(self, probe: Probe) -> list[Addition]:
        """Residual additions of the float64 run on one of the first two probes; none where it can't be recorded."""
        self.float64(probe)
        return self._additions.get(probe.key, [])

    def traced(self, probe: Probe) -> TracedValues:
        """Every value that the module computes on a probe, kept for the last one; ModelError: it can't be recorded."""
        if probe.key not in self._traced:
            self._traced.clear()
            self._traced[probe.key] = TracedValues(functools.partial(self._record, probe))
        return self._traced[probe.key]

    def forget(self, probe: Probe) -> None:
        """Drop the answers to a probe, unless its rows are those of other probes, too."""
        self._choices.pop(probe.key, None)
        if not any(source.key == probe.key for other in self.inputs.probes for source, _ in other.rows):
            self._answers = {key: answer for key, answer in self._answers.items() if key[1:] != probe.key}

    def release(self) -> None:
        """Drop all answers, and the memory of the float64 runs."""
        self._scratch = Scratch()
        for memo in (self._answers, self._additions, self._choices, self._traced):
            memo.clear()

    def _note_fused_way(self, probe: Probe, path: str) -> None:
        """See whether the module as its user runs it answers otherwise, where an attention layer is given a mask."""
        # the fused kernels may refuse what the operators take, and warn that they are new
        with contextlib.suppress(ModelError), warnings.catch_warnings(action="ignore"):
            index, off = difference(self._answers["float32", *probe.key], self._calls.run(run_as_it_is, probe))
            if off > WAY_LIMIT:
                where = f"{probe.family} inputs at {probe.sizes_in_words}"
                off_by = f"{self.output_names[index]} is off by {off:.2g} of its scale ({where})"
                self.fused_way = fused_sentence(self.network, path, off=off_by)

    def _record(self, probe: Probe, receive: Receive | None, run: Any = None, **options: Any) -> Trace:
        """Run the module, by default in float64 if it can, and call `receive` with each value that it computes."""
        recorder = Recorder(self.network, receive=receive)
        run = run or (run_float32 if self._no_float64 else run_float64)
        self._calls.run(run, probe, recorder=recorder, **options)
        return recorder.trace

    def _answer(self, how: str, probe: Probe, run: Any, **options: Any) -> list[Array]:
        key = (how, *probe.key)
        if key not in self._answers:
            self._answers[key] = self._calls.run(run, probe, **options)
        return self._answers[key]
