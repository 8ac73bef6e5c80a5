"""What the module itself answers to a probe: in float32, in float64, and with perturbed weights."""

import contextlib
import functools
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.arrays import Array, rms
from tasks.core.errors import ModelError, one_line
from tasks.core.forward.outputs import flatten
from tasks.core.forward.precision import Arguments, Keywords, Scratch, run_float32, run_float64, run_perturbed
from tasks.core.forward.recorder import Receive, Run, trace
from tasks.core.forward.thresholds import Thresholds
from tasks.core.forward.traces import Addition, Trace
from tasks.core.inputs.choice import Inputs
from tasks.core.inputs.probes import Probe, batch_name
from tasks.core.runtime.memory import give_back

NUM_STAND_INS = 4
"""Perturbed float32 runs whose mean with torch32 stands in for float64 where there is none."""

ROW_LIMIT = 4.0
"""Rounding errors of rows answered together, as a multiple of their errors before; a true ratio is near 1."""


class Reference:
    """Answers of one module, each computed once while it is kept.

    With `keep` nothing is let go between one file's proof and the next's.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, keep: bool = False) -> None:
        self.model = model
        self.inputs = inputs
        self.file_answers: dict[tuple[str, str, tuple[object, ...]], list[Array]] = {}
        """What a file answered when it was tried after its export, by SHA-256, level and probe: not run twice."""
        self.trace_cache: dict[Any, Any] = {}
        """Traces of the module, by probe."""
        self.unrepeatable: str | None = None
        """Why the module does not repeat its answers; empty: it does; None: not known yet."""
        self.names: tuple[str, ...] = ()
        """Of the outputs, from the structure that forward returns; known after the first run."""
        self.thresholds = Thresholds()
        """What the first run compared its values with."""
        self.additions: dict[tuple[object, ...], list[Addition]] = {}
        """Residual additions of the float64 runs on the first two probes."""
        self._keep = keep
        self._additions: list[Addition] = []
        self._rounded: set[str] = set()
        self._no_float64 = ""
        self._scratch = Scratch()
        self._kept: dict[tuple[object, ...], list[Array]] = {}

    @property
    def floor(self) -> str:
        """What `float64` was."""
        if self._no_float64:
            return f"mean of {NUM_STAND_INS + 1} perturbed float32 runs, as the module has no float64 path"
        return f"float64, but {', '.join(sorted(self._rounded))} in float32" if self._rounded else "float64"

    def float32(self, probe: Probe) -> list[Array]:
        """Outputs of the module as it is, flattened."""
        if probe.rows:
            give_back()  # what smaller batches took, before the largest
        return self._answer("float32", probe, run_float32)

    def float64(self, probe: Probe) -> list[Array]:
        """Outputs of the module computed in float64, flattened.

        Where the module has no float64 path, the mean of float32 runs with inputs and weights off by one
        rounding stands in; integers are torch32's own. Answers to rows of other probes are put together from theirs,
        where the module answers each row apart.
        """
        key = ("float64", *probe.key)
        if probe.rows and key not in self._kept and (answer := self._put_together(probe)) is not None:
            self._kept[key] = answer
        if key in self._kept:
            return self._kept[key]
        options = {"scratch": self._scratch, "rounded": self._rounded}
        if probe in self.inputs.probes[:2] and not self._no_float64:
            with contextlib.suppress(ModelError):  # recording may be too much for an unusual module
                return self._answer("float64", probe, self._run_recorded, **options)
        if not self._no_float64:
            try:
                return self._answer("float64", probe, run_float64, **options)
            except ModelError as error:
                self._no_float64 = str(error)
        return self._stand_in(probe)

    def traced(self, probe: Probe, receive: Receive, run: Run | None = None) -> Trace:
        """What the module computes on a probe, operator by operator.

        Args:
            probe: the probe.
            receive: called with each value.
            run: how to run it; None: in float64, if the module can.

        Raises:
            ModelError: it can't be recorded.
        """
        how = run or (run_float32 if self._no_float64 else run_float64)
        traces: list[Trace] = []

        def recorded(model: nn.Module, args: Arguments, kwargs: Keywords) -> Any:
            outputs: list[Any] = []
            traces.append(trace(model, args, kwargs, run=lambda *call: outputs.append(how(*call)), receive=receive))
            return outputs[0]

        self._call(recorded, probe)
        return traces[0]

    def again(self, probe: Probe) -> list[Array]:
        """Outputs in float32, computed anew."""
        return self._call(run_float32, probe)

    def perturbed(self, probe: Probe, *, seed: int) -> list[Array]:
        """Outputs in float32 with each weight moved by one rounding; inputs, too, where there is no float64."""
        moved = bool(self._no_float64)
        return self._answer(f"perturbed {seed} {moved}", probe, run_perturbed, seed=seed, move_inputs=moved)

    def release(self) -> None:
        """Let the memory of the float64 runs and all that is kept go, unless it is to be kept."""
        self.file_answers.clear()
        if self._keep:
            return
        self._scratch = Scratch()
        self._kept.clear()
        self.trace_cache.clear()
        self.additions.clear()

    def forget(self, probe: Probe) -> None:
        """Drop what is kept of a probe, unless it is to be kept or its rows are those of other probes, too."""
        is_source = any(source.key == probe.key for other in self.inputs.probes for source, _ in other.rows)
        if not self._keep and not is_source:
            self._kept = {key: answer for key, answer in self._kept.items() if key[1:] != probe.key}

    def _put_together(self, probe: Probe) -> list[Array] | None:
        """Float64 answers of other probes' rows, side by side; None where the module does not answer each row apart.

        Its own float32 run on all the rows shows whether it does: it is no farther off than on those probes.
        """
        batch = batch_name(self.inputs.specs) or ""
        sources = list({source.key: source for source, _ in probe.rows}.values())
        answers: list[Array] = []
        for index, torch32 in enumerate(self.float32(probe)):
            float64 = {source.key: self.float64(source)[index] for source in sources}
            if any(a.shape[:1] != (s.sizes[batch],) for a, s in zip(float64.values(), sources, strict=True)):
                return None
            rows = [float64[source.key][row] for source, row in probe.rows]
            if any(row.shape != torch32.shape[1:] for row in rows) or len(rows) != len(torch32):
                return None
            together = np.stack(rows)
            errors = [(self.float32(source)[index], float64[source.key]) for source in sources]
            if not _is_as_near(torch32, together, errors):
                return None
            answers.append(together)
        return answers

    def _run_recorded(self, model: nn.Module, args: Arguments, kwargs: Keywords, **options: Any) -> Any:
        """As `run_float64`, its residual additions recorded."""
        outputs: list[Any] = []
        run = functools.partial(run_float64, **options)
        traced = trace(model, args, kwargs, run=lambda *call: outputs.append(run(*call)), keep_additions=True)
        self._additions = traced.additions
        return outputs[0]

    def _stand_in(self, probe: Probe) -> list[Array]:
        torch32 = self.float32(probe)
        others = [self.perturbed(probe, seed=100 + index) for index in range(NUM_STAND_INS)]
        same = [other for other in others if [a.shape for a in other] == [a.shape for a in torch32]]
        return [
            np.mean([answer[index].astype(np.float64) for answer in (torch32, *same)], axis=0)
            if array.dtype.kind == "f"
            else array
            for index, array in enumerate(torch32)
        ]

    def _answer(self, how: str, probe: Probe, run: Any, **options: Any) -> list[Array]:
        key = (how, *probe.key)
        if key not in self._kept:
            self._kept[key] = self._call(run, probe, **options)
            if self._additions:
                self.additions[probe.key], self._additions = self._additions, []
        return self._kept[key]

    def _call(self, run: Any, probe: Probe, **options: Any) -> list[Array]:
        args, kwargs = self.inputs.arguments(self.inputs.arrays(probe))
        try:
            with contextlib.nullcontext() if self.names else self.thresholds:
                output = run(self.model, args, kwargs, **options)
        except Exception as error:  # the user's forward may raise anything; it becomes one sentence
            said = one_line(f"{type(error).__name__}: {error}")
            sizes = ", ".join(f"{name}={size}" for name, size in probe.sizes.items()) or "its fixed sizes"
            raise ModelError(
                f"{type(self.model).__name__} raised at {sizes} ({probe.family} inputs, {run.__name__}): {said}; "
                f"narrow the range or the bounds of its inputs (NAME=DTYPE[WORD:LOW..HIGH]@LOW..HIGH)."
            ) from error
        named = flatten(output)
        self.names = tuple(name for name, _ in named)
        return [_array(tensor) for _, tensor in named]


def _is_as_near(torch32: Array, float64: Array, others: list[tuple[Array, Array]]) -> bool:
    """Is torch32 as near to float64 as in the other pairs? Integers must be equal."""
    if torch32.dtype.kind != "f":
        return np.array_equal(torch32, float64)
    if any(a.shape != b.shape for a, b in others):
        return False
    limit = ROW_LIMIT * max(rms(a - b) for a, b in others)
    return np.array_equal(np.isfinite(torch32), np.isfinite(float64)) and rms(torch32 - float64) <= limit


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    # a copy: the tensor may be a buffer that the next call changes
    return np.array(tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy())
