"""Masks among the inputs: which value hides, and rows that are hidden whole, not at all, or from somewhere on."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tasks.core.arrays import Array
from tasks.core.inputs.probes import Probe, dynamic_dims
from tasks.core.spec.input_spec import FLOAT_DTYPES, InputSpec

PATTERNS = ("ones", "zeros", "ones first", "zeros first")
"""Rows of a mask, along its last axis; those of a probe take them in turns."""
_PADDED = {
    "right": ("ones", "one first", "ones first"),
    "left": ("ones", "one last", "zeros first"),
    "either": ("ones", "one first", "zeros first", "one last"),
}
"""The same of a mask that pads on a side."""

Outcome = Callable[[dict[str, Array]], str]
"""Runs the module; what it raises, `NOT_FINITE`, or empty."""
Answer = Callable[[dict[str, Array]], Sequence[torch.Tensor]]
"""Runs the module, which takes these arrays; its outputs."""
NOT_FINITE = "its answer is not finite"


@dataclass(frozen=True)
class Masks:
    """The masks of a module, and what it makes of uniform ones."""

    specs: tuple[InputSpec, ...] = ()
    """The inputs, sizes chosen."""
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of a mask: rows on which the module runs."""
    first: Mapping[str, bool] = field(default_factory=dict)
    """By name: what the first element of each row is, lest a row is hidden whole that makes PyTorch give NaN."""
    hiding: Mapping[str, bool] = field(default_factory=dict)
    """By name: the value that hides, of masks of which that is known."""
    notes: tuple[str, ...] = ()
    """On what uniform masks the module itself is not finite, or raises."""

    def plan(self, planned: Probe, *, batch: str | None) -> Iterator[Probe]:
        """Plan probes whose masks have all patterns of rows.

        Args:
            planned: another probe, at the traced sizes.
            batch: name of the dimension of which any size will do; None: all sizes are the traced ones.
        """
        if not self.patterns:
            return
        sizes, num_rows = planned.sizes, 1
        if batch is not None and all(self._is_led(name) for name in self.patterns):
            dim = dynamic_dims(self.specs)[batch]
            num_rows = min(max(len(PATTERNS), dim.low), dim.high or len(PATTERNS))
            sizes = {**sizes, batch: num_rows}
        for part in range(-(-len(PATTERNS) // num_rows)):
            yield Probe(family="masks", seed=part, sizes=sizes)

    def set_in(self, arrays: dict[str, Array], probe: Probe) -> None:
        """Set the masks of a probe that was planned here.

        Args:
            arrays: by input name, as drawn; they are changed.
            probe: of the family `masks`.
        """
        for shift, (name, patterns) in enumerate(self.patterns.items()):
            rows = arrays[name] if self._is_led(name) else arrays[name][None]
            for number in range(len(rows)):
                turn = probe.seed * len(rows) + number + shift * (probe.seed * len(rows) + number) // len(patterns)
                rows[number] = _pattern(patterns[turn % len(patterns)], rows[number].shape).astype(rows.dtype)

    def hidden_whole(self, arrays: Mapping[str, Array]) -> Array:
        """Rows of the batch, as bool, in which some mask hides everything."""
        hidden = [arrays[name] == value for name, value in self.hiding.items() if self._is_led(name)]
        whole = [array.reshape(len(array), -1).all(axis=1) for array in hidden if array.ndim > 1]
        return np.any(whole, axis=0) if whole else np.zeros(0, dtype=bool)

    def _is_led(self, name: str) -> bool:
        """Is the first dimension of a mask that of the first input, the batch?"""
        dims = next(spec.dims for spec in self.specs if spec.name == name)
        return bool(dims and self.specs[0].dims) and dims[0] == self.specs[0].dims[0]


def find_masks(
    specs: tuple[InputSpec, ...],
    indices: Collection[int],
    *,
    drawn: Sequence[dict[str, Array]],
    run: Outcome,
    answer: Answer,
) -> Masks:
    """Run the module with every mask uniformly true and uniformly false, to see which values hide.

    Args:
        specs: the inputs, sizes chosen.
        indices: of inputs that look up rows of a table, which are no masks.
        drawn: arrays at the traced sizes, by input name, of two seeds.
        run: runs the module on arrays.
        answer: likewise.
    """
    patterns: dict[str, tuple[str, ...]] = {}
    first: dict[str, bool] = {}
    hiding: dict[str, bool] = {}
    notes: list[str] = []
    for index, spec in enumerate(specs):
        if index in indices or spec.dtype in FLOAT_DTYPES or spec.value_range != (0, 1) or not spec.dims:
            continue
        if spec.padded:
            patterns[spec.name] = _PADDED[spec.padded]
            continue
        uniforms = {value: np.full_like(drawn[0][spec.name], value) for value in (True, False)}
        found = {value: run({**drawn[0], spec.name: uniform}) for value, uniform in uniforms.items()}
        raising = {value for value, outcome in found.items() if outcome not in ("", NOT_FINITE)}
        uniform = {"ones": True, "zeros": False}
        patterns[spec.name] = tuple(pattern for pattern in PATTERNS if uniform.get(pattern) not in raising)
        if bool(found[True]) != bool(found[False]):
            first[spec.name] = not found[True]
            hiding[spec.name] = bool(found[True])
        elif not found[True]:
            answers = functools.partial(_answers, spec, specs, drawn=drawn, answer=answer)
            hides = [value for value, uniform in uniforms.items() if _are_apart(*answers(uniform), uniform)]
            if len(hides) == 1:  # else nothing is hidden, or nothing depends on its neighbours
                hiding[spec.name] = hides[0]
        for value, outcome in found.items():
            shown = str(value if spec.dtype == "bool" else int(value))
            if outcome == NOT_FINITE:
                notes.append(f"where {spec.name} is {shown} all along a row, what is NaN in PyTorch itself is left out")
            elif outcome:
                notes.append(f"rows of {spec.name} that are {shown} all along are left out: {outcome}")
    return Masks(specs, patterns, first, hiding, tuple(notes))


def _answers(
    mask: InputSpec, specs: tuple[InputSpec, ...], uniform: Array, *, drawn: Sequence[dict[str, Array]], answer: Answer
) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
    """Two answers with this mask; the second has other values in the last place that the mask shows or hides."""
    given = {**drawn[0], mask.name: uniform}
    moved = {name: array.copy() for name, array in given.items()}
    for spec in specs:
        if spec.name != mask.name and mask.dims[-1] in spec.dims:
            at: tuple[slice | int, ...] = (*[slice(None)] * spec.dims.index(mask.dims[-1]), -1)
            moved[spec.name][at] = drawn[1][spec.name][at]
    return answer(given), answer(moved)


def _are_apart(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor], mask: Array) -> bool:
    """Does what stands in the last place reach no other one, which lies along axes that are as long as the mask?"""
    for a, b in zip(first, second, strict=True):
        at = tuple(slice(-1) if size == mask.shape[-1] else slice(None) for size in a.shape)
        if a.shape != b.shape or not torch.equal(a[at], b[at]):
            return False
    return True


def _pattern(pattern: str, shape: tuple[int, ...]) -> Array:
    """True and false values along the last axis."""
    if not shape or pattern in ("ones", "zeros"):
        return np.full(shape, pattern.startswith("ones"))
    if pattern in ("one first", "one last"):
        row = np.arange(shape[-1]) == (0 if pattern == "one first" else shape[-1] - 1)
    else:
        row = (np.arange(shape[-1]) < max(shape[-1] // 2, 1)) == pattern.startswith("ones")
    return np.broadcast_to(row, shape)
