"""`Inputs`: what a module is traced and proven with, and how forward takes it."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from tasks.core.arrays import Array
from tasks.core.forward.arguments import ArgumentPath, Arguments, build_arguments
from tasks.core.forward.loaded_state import LoadedState
from tasks.core.inputs.masks import Masks
from tasks.core.inputs.probes import Probe, all_sizes, base_family, batch_name, draw
from tasks.core.inputs.sizes import traced_sizes
from tasks.core.inputs.special_probes import Specials
from tasks.core.spec.input_spec import InputSpec


@dataclass(frozen=True)
class Inputs:
    """The inputs of one model: what to trace with, and what to prove with."""

    specs: tuple[InputSpec, ...]
    """One an input, every size chosen."""
    argument_paths: tuple[ArgumentPath, ...]
    """Where forward takes each of them."""
    probes: tuple[Probe, ...]
    skipped: tuple[tuple[Probe, str], ...] = ()
    """Probes at large sizes that are not run, each with the reason."""
    refused: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of a dynamic dimension at which the module itself raises."""
    doubts: tuple[str, ...] = ()
    """Branches on sizes of which no probe can show both sides."""
    notes: tuple[str, ...] = ()
    """What a reader of the proof should know of the sizes, and of values that are left out."""
    sample: Mapping[str, Array] | None = None
    loaded: LoadedState | None = field(default=None, compare=False, repr=False)
    """The state that each run begins with, of a module whose first call overwrites it."""
    overwritten: str = ""
    """What the first call overwrites, in one sentence; empty: nothing that matters."""
    run_bytes: int = 0
    """By how much the process grew while the module ran in float32 at the sizes to prove."""
    specials: Specials = field(default_factory=Specials, compare=False, repr=False)
    """Values that the module treats in a way of their own, which some probes have."""
    masks: Masks = field(default_factory=Masks, compare=False, repr=False)
    _drawn: dict[tuple[object, ...], dict[str, Array]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the file."""
        return tuple(spec.name for spec in self.specs)

    @property
    def batch(self) -> str:
        """Name of the dynamic dimension that leads the first input; empty: it is none."""
        return batch_name(self.specs) or ""

    def arrays(self, probe: Probe) -> dict[str, Array]:
        """The arrays of a probe, by input name."""
        if probe.family == "sample":
            assert self.sample is not None
            return dict(self.sample)
        if probe.key not in self._drawn:
            self._drawn[probe.key] = self.draw(probe)
        return dict(self._drawn[probe.key])

    def hold(self, probe: Probe, arrays: dict[str, Array]) -> None:
        """Keep arrays that were made, not drawn, as those of a probe.

        Args:
            probe: of which there is none with this family, seed and sizes yet.
            arrays: by input name.
        """
        self._drawn[probe.key] = arrays

    def draw(self, probe: Probe) -> dict[str, Array]:
        """Draw the arrays of a probe of any family but `sample`, by input name; nothing is kept."""
        arrays = draw(self.specs, probe, first=self.masks.first)
        self.specials.set_in(arrays, probe)
        if probe.family == "masks":
            self.masks.set_in(arrays, probe)
        return arrays

    def traced_arrays(self, *, seed: int = 0, family: str | None = None) -> dict[str, Array]:
        """Arrays of the traced sizes, by input name.

        Args:
            seed: of their values; 0 is what exporters trace with.
            family: None: the usual one of these inputs.
        """
        return self.draw(Probe(family=family or base_family(self.specs), seed=seed, sizes=traced_sizes(self.specs)))

    def batch_size(self, probe: Probe) -> int | None:
        """Size of the dimension that leads the first input, by custom the batch; None: it has none."""
        shape = self.arrays(probe)[self.specs[0].name].shape
        return shape[0] if shape else None

    def tensors(self, arrays: Mapping[str, Array]) -> list[torch.Tensor]:
        """One tensor an input, in their order."""
        # copies: a model that writes into its input must not change the probe
        return [torch.tensor(arrays[spec.name]).to(getattr(torch, spec.dtype)) for spec in self.specs]

    def arguments(self, arrays: Mapping[str, Array]) -> Arguments:
        """Args and kwargs of forward for these arrays."""
        return build_arguments(self.argument_paths, self.tensors(arrays))

    def arguments_without_values(self, symbols: Mapping[str, Any]) -> Arguments:
        """Args and kwargs of forward whose dynamic dimensions have these symbols for sizes."""
        sizes = all_sizes(self.specs, symbols)
        shapes = [[dim.size_at(sizes) for dim in spec.dims] for spec in self.specs]
        dtypes = (getattr(torch, spec.dtype) for spec in self.specs)
        tensors = [torch.empty(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        return build_arguments(self.argument_paths, tensors)

    @property
    def from_tensors(self) -> Callable[[Sequence[torch.Tensor]], Arguments] | None:
        """What makes args and kwargs of one tensor an input, as exporters need; None: forward takes these itself."""
        is_plain = all(isinstance(path.argument, str) and not path.keys for path in self.argument_paths)
        is_plain |= all(path == ArgumentPath(index) for index, path in enumerate(self.argument_paths))
        return None if is_plain else functools.partial(build_arguments, self.argument_paths)

    def traced_arguments(self) -> Arguments:
        """An example as an exporter passes it to forward: tensors only."""
        tensors = self.tensors(self.traced_arrays())
        return build_arguments(self.argument_paths, tensors) if self.from_tensors is None else (tuple(tensors), {})

    def kept(self) -> AbstractContextManager[None]:
        """A context in which the module runs, after which it has the state that was loaded, if a run overwrites it."""
        return contextlib.nullcontext() if self.loaded is None else self.loaded.kept()

    def example(self) -> Arguments:
        """Args and kwargs of forward to trace with: the traced sizes, with values that no probe has."""
        return self.arguments(self.traced_arrays())
