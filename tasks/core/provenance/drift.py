"""How far the answers of two files are apart on the same inputs, as ONNX Runtime gives them; needs no PyTorch."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.core.arrays import Array, ratio
from tasks.core.errors import SpecError
from tasks.core.inputs.probes import Probe, base_family, draw, dynamic_dims
from tasks.core.provenance.attempts import PastExport
from tasks.core.records.comparison import Drift, OutputDrift
from tasks.core.records.steps import Graph, TensorType
from tasks.core.runtime.sessions import SessionError, answers
from tasks.core.spec.input_spec import Dim, InputSpec

NUM_PROBES = 4
_UNKNOWN_SIZE = 2
"""Of a dynamic dimension that no probe is recorded for."""

Pairs = list[tuple[TensorType, TensorType]]


def measure_drift(before: PastExport, now: PastExport, files: tuple[Path, Path]) -> Drift:
    """Run both files on the same few inputs, at sizes at which they were proven, and subtract their outputs.

    Args:
        before: what the inputs of the first file are, and at which sizes it was proven.
        now: of the second file.
        files: both.
    """
    try:
        inputs = _matched_inputs(before.graph.inputs, now.graph.inputs)
        specs = tuple(_common(_recorded(before, old), _recorded(now, new)) for old, new in inputs)
        sizes = _sizes(specs, before, now)
        probes = [Probe(family=base_family(specs), seed=seed, sizes=case) for seed, case in enumerate(sizes, start=1)]
        feeds = [draw(specs, probe) for probe in probes]
        renamed = [{new.name: feed[old.name] for old, new in inputs} for feed in feeds]
        given = zip(files, (feeds, renamed), strict=True)
        found = [answers(file, arrays, threads=os.cpu_count()) for file, arrays in given]
    except SpecError as error:
        return Drift(reason=f"the two files can't be run on the same inputs: {error}")
    except SessionError as error:
        return Drift(reason=f"ONNX Runtime can't run both files on the same inputs: {error}.")
    old_answers, new_answers = map(_by_output, (before.graph, now.graph), found)
    outputs = tuple(
        OutputDrift(name=new.name, name_before=old.name, **_figures(old_answers[old.name], new_answers[new.name]))
        for old, new in _matched(before.graph.outputs, now.graph.outputs)
    )
    return Drift(outputs=outputs, sizes=tuple(sizes))


def _matched_inputs(before: Sequence[TensorType], now: Sequence[TensorType]) -> Pairs:
    """Which input of the second file is which of the first; a SpecError where they can't take the same arrays."""
    if len(before) != len(now):
        raise SpecError(f"the contract differs, for the first has {len(before)} inputs and the second {len(now)}.")
    pairs = _matched(before, now)
    for old, new in pairs:
        sizes = [{a, b} for a, b in zip(old.dims, new.dims, strict=False) if isinstance(a, int) and isinstance(b, int)]
        if old.dtype != new.dtype or len(old.dims) != len(new.dims) or any(len(both) > 1 for both in sizes):
            raise SpecError(f"the contract differs, for {old} and {new} can't be the same array.")
    return pairs


def _matched(before: Sequence[TensorType], now: Sequence[TensorType]) -> Pairs:
    """Pairs of the same name; and of the others, if there are as many on both sides, of the same position."""
    named = {value.name: value for value in now}
    pairs = {value: named[value.name] for value in before if value.name in named}
    others = [value for value in before if value not in pairs], [value for value in now if value not in pairs.values()]
    if len(others[0]) == len(others[1]):
        pairs |= dict(zip(*others, strict=True))
    return list(pairs.items())


def _recorded(version: PastExport, value: TensorType) -> InputSpec:
    """An input as it was declared, else as the file's header has it; a SpecError if its legal values are unknown."""
    declared = {spec.name: spec for spec in map(InputSpec.parse, json.loads(version.manifest.spec).get("inputs", ()))}
    spec = declared.get(value.name)
    if spec is not None and len(spec.dims) == len(value.dims):
        return spec
    dims = tuple(Dim(size=dim) if isinstance(dim, int) else Dim(name=dim) for dim in value.dims)
    return InputSpec(name=value.name, dtype=value.dtype, dims=dims)


def _common(old: InputSpec, new: InputSpec) -> InputSpec:
    """The first file's input, with those sizes and values only that the second one's takes, too."""
    padded = old.padded or new.padded
    ends = ((old.low, new.low), (old.high, new.high))
    lows, highs = ([end for end in both if end is not None and not padded] for both in ends)
    dims = tuple(b if b.name is None else a for a, b in zip(old.dims, new.dims, strict=True))
    low, high = max(lows, default=None), min(highs, default=None)
    return InputSpec(name=old.name, dtype=old.dtype, dims=dims, low=low, high=high, padded=padded)


def _sizes(specs: tuple[InputSpec, ...], before: PastExport, now: PastExport) -> list[dict[str, int]]:
    """Sizes of the dynamic dimensions, one case a probe: at which both were proven, else the first one was."""
    dims = dynamic_dims(specs)
    old, new = (
        [{name: size for name, size in probe.sizes.items() if name in dims} for probe in version.evidence.probes]
        for version in (before, now)
    )
    unknown = {name: dim.size or _UNKNOWN_SIZE for name, dim in dims.items()}
    cases: list[dict[str, int]] = []
    for case in [case for case in old if case in new] or old or [{}]:
        if unknown | case not in cases:
            cases.append(unknown | case)
    return [cases[index % len(cases)] for index in range(NUM_PROBES)]


def _by_output(graph: Graph, found: list[list[Array]]) -> dict[str, list[Array]]:
    """The answers to all probes by name of the output."""
    return {value.name: [given[place] for given in found] for place, value in enumerate(graph.outputs)}


def _figures(before: list[Array], now: list[Array]) -> dict[str, float | str]:
    """`relative_rms` and `largest` of the difference of arrays, or the `reason` why there is none."""
    squares = total = largest = 0.0
    for old, new in zip(before, now, strict=True):
        if old.dtype.kind not in "biuf" or new.dtype.kind not in "biuf":
            return {"reason": "it is no tensor of real numbers"}
        if old.shape != new.shape:
            return {"reason": f"its shape {list(old.shape)} became {list(new.shape)}"}
        old, new = old.astype(np.float64), new.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, np.abs(new - old))
            difference = np.where(np.isnan(difference), math.inf, difference)
            squares += float(np.square(difference).sum())
            total += float(np.square(old[np.isfinite(old)]).sum())
        largest = max(largest, float(difference.max(initial=0.0)))
    return {"relative_rms": ratio(math.sqrt(squares), math.sqrt(total)), "largest": largest}
