"""What a module answers to probes: in float32, in float64, and with perturbed weights; each is computed once."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import ModelError, OutOfMemoryError, one_line
from tasks.core.forward.frozen_values import TakenSides
from tasks.core.forward.precision import Scratch, run_as_it_is, run_float32, run_float64, run_perturbed
from tasks.core.forward.recorder import Recorder
from tasks.core.forward.traces import Addition
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe
from tasks.core.limits import NUM_PERTURBED, NUM_STAND_INS, WAY_LIMIT
from tasks.core.reference.calls import Calls
from tasks.core.reference.substitutes import from_rows, mean_of_runs, rows_of
from tasks.core.reference.together import Batch, batches, is_apart
from tasks.core.reference.ways import attention_masks, difference, fused_sentence
from tasks.core.runtime.memory import release_free_memory

_Key = tuple[object, ...]


class Answers:
    """Answers of one module to probes: each is computed once, when it is first asked for."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        """Take a module in eval mode, and probes of which the first two differ in their seed only; run nothing yet."""
        self.network, self.inputs = network, inputs
        self._answers: dict[_Key, list[Array]] = {}
        self._additions: dict[_Key, list[Addition]] = {}
        self._calls = Calls(network, inputs)
        self._no_float64 = ""
        self._rounded: set[str] = set()
        self._scratch = Scratch()
        self._batches: dict[_Key, Batch] = {}
        """By how a probe is run and its key: the probes that it is run with."""
        self._apart: set[_Key] = set()
        """Keys of the probes that the module was seen to answer alike among others."""
        self._waiting: dict[_Key, list[Array] | None] = {}
        """Answers of runs together, not looked at yet; None: there is none."""
        self._answers_rows = False
        """Was the module seen to answer each row of a larger batch by itself?"""
        self._converting: dict[str, Probe] = {}
        """Lines at which float32 runs converted tensors to Python values, each with the first probe that did."""
        self.fused_way = ""
        """How the module answers otherwise with PyTorch's fused attention, in one sentence; empty: nowhere yet."""

    def expect(self, probes: Sequence[Probe], noisy: Sequence[Probe]) -> None:
        """Put probes together that will be asked for.

        Args:
            probes: in float64.
            noisy: those of them that are run with perturbed weights, too.
        """
        recorded = self.inputs.probes[:2]
        for how, asked in (("float64", [p for p in probes if p not in recorded]), ("perturbed", noisy)):
            for batch in batches(asked, self.inputs):
                self._batches |= {(how, *probe.key): batch for probe in batch.probes}

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

    def float32(self, probe: Probe) -> list[Array]:
        """Outputs of the module as it is, but for fused attention, flattened."""
        key = ("float32", *probe.key)
        if key not in self._answers and probe.family == "large" and probe.rows and self._answers_rows:
            self._answers[key] = rows_of(probe, self.float32)
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
        how, options = f"perturbed {seed} {moved}", {"seed": seed, "move_inputs": moved, "scratch": self._scratch}
        key = (how, *probe.key)
        if key not in self._answers and probe.key in self._apart and seed < NUM_PERTURBED:
            answer = self._together("perturbed", how, probe, run=run_perturbed, **options)
            self._answers |= {} if answer is None else {key: answer}
        return self._answer(how, probe, run_perturbed, **options)

    def shaken(self, probe: Probe, seed: int, num_roundings: float) -> list[Array]:
        """As `perturbed`, each weight moved by so many roundings; not kept.

        Args:
            probe: what to answer.
            seed: of the signs of the roundings.
            num_roundings: at least 1.
        """
        options: dict[str, Any] = {"move_inputs": bool(self._no_float64), "scratch": self._scratch}
        return self._calls.run(run_perturbed, probe, seed=seed, num_roundings=num_roundings, **options)

    def float64(self, probe: Probe) -> list[Array]:
        """Outputs of the module computed in float64, flattened.

        Where the module has no float64 path, the mean of float32 runs with inputs and weights off by one
        rounding stands in; integers are torch32's own. Answers to rows of other probes are put together from theirs,
        where the module answers each row apart.
        """
        key = ("float64", *probe.key)
        if probe.rows and key not in self._answers:
            together = from_rows(probe, self.inputs.batch, float32=self.float32, float64=self.float64)
            self._answers |= {} if together is None else {key: together}
            self._answers_rows |= together is not None
        if key in self._answers:
            return self._answers[key]
        options: dict[str, Any] = {"scratch": self._scratch, "rounded": self._rounded}
        if not self._no_float64 and probe in self.inputs.probes[:2]:
            with contextlib.suppress(ModelError):  # recording may be too much for an unusual module
                recorder = Recorder(self.network, keep_additions=True)
                self._answers[key] = self._calls.run(run_float64, probe, recorder=recorder, **options)
                self._additions[probe.key] = recorder.trace.additions
                return self._answers[key]
        if not self._no_float64 and (together := self._from_batch(probe)) is not None:
            self._answers[key] = together
            return together
        if not self._no_float64:
            try:
                return self._answer("float64", probe, run_float64, **options)
            except ModelError as error:
                cause = error.__cause__ or error
                self._no_float64 = one_line(f"{type(cause).__name__}: {cause}")
        others = [self.perturbed(probe, seed=100 + index) for index in range(NUM_STAND_INS)]
        return mean_of_runs(self.float32(probe), others)

    def additions(self, probe: Probe) -> list[Addition]:
        """Residual additions of the float64 run on one of the first two probes; none where it can't be recorded."""
        self.float64(probe)
        return self._additions.get(probe.key, [])

    def forget(self, probe: Probe) -> None:
        """Drop the answers to a probe, unless its rows are those of other probes, too."""
        if not any(source.key == probe.key for other in self.inputs.probes for source, _ in other.rows):
            self._answers = {key: answer for key, answer in self._answers.items() if key[1:] != probe.key}

    def release(self) -> None:
        """Drop all answers, and the memory of the float64 runs."""
        self._scratch = Scratch()
        for memo in (self._answers, self._additions, self._waiting):
            memo.clear()

    def _note_fused_way(self, probe: Probe, path: str) -> None:
        """See whether the module as its user runs it answers otherwise, where an attention layer is given a mask."""
        # the fused kernels may refuse what the operators take, and warn that they are new
        with contextlib.suppress(ModelError), warnings.catch_warnings(action="ignore"):
            index, off = difference(self._answers["float32", *probe.key], self._calls.run(run_as_it_is, probe))
            if off > WAY_LIMIT:
                where = f"{probe.family} inputs at {probe.sizes_in_words}"
                off_by = f"{self._calls.names[index]} is off by {off:.2g} of its scale ({where})"
                self.fused_way = fused_sentence(self.network, path, off=off_by)

    def _from_batch(self, probe: Probe) -> list[Array] | None:
        """The float64 answer to a probe among others; None: it is run alone, or its rows depend on the others."""
        answer = self._together(
            "float64", "float64", probe, run=run_float64, scratch=self._scratch, rounded=self._rounded
        )
        if answer is None:
            return None
        first = self.inputs.probes[0]
        exact = self.float64(first)
        if not is_apart(self.float32(probe), answer, (self.float32(first), exact)):
            return None
        self._apart.add(probe.key)
        return answer

    def _together(self, kind: str, how: str, probe: Probe, *, run: Any, **options: Any) -> list[Array] | None:
        """Answer a probe and those that are put together with it by one run; None: there are none, or it fails."""
        batch = self._batches.get((kind, *probe.key))
        if batch is None:
            return None
        if (how, *probe.key) not in self._waiting:
            found: dict[_Key, list[Array]] = {}
            with contextlib.suppress(ModelError, OutOfMemoryError):  # alone it may fit, or says at which sizes it fails
                found = batch.apart(self._calls.run(run, probe, arrays=batch.arrays(self.inputs), **options))
            self._waiting |= {(how, *other.key): found.get(other.key) for other in batch.probes}
        return self._waiting.pop((how, *probe.key))

    def _answer(self, how: str, probe: Probe, run: Any, **options: Any) -> list[Array]:
        key = (how, *probe.key)
        if key not in self._answers:
            self._answers[key] = self._calls.run(run, probe, **options)
        return self._answers[key]
